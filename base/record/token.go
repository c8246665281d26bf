package record

import (
	"encoding/base32"
	"fmt"
	"strings"
)

// Lineage is the random name of a store's life: new at every create, restore and salvage, so that
// two lives of one job never use the same token for different data.
type Lineage [16]byte

var lineageText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// String returns the lineage as 26 characters, safe in file names, SQL and URLs.
func (l Lineage) String() string { return lineageText.EncodeToString(l[:]) }

// ParseLineage reads what String wrote.
func ParseLineage(s string) (Lineage, error) {
	b, err := lineageText.DecodeString(s)
	if err != nil || len(b) != len(Lineage{}) {
		return Lineage{}, fmt.Errorf("read lineage %q: want 26 characters of 0-9a-z without i, l, o, u", s)
	}
	return Lineage(b), nil
}

// Token names one delivery for ever: the same token always stands for the same bytes. A sink that
// has seen a token has seen the rows; the same token with another hash is a conflict.
type Token struct {
	Job     string
	Lineage Lineage
	First   uint64 // sequence of the first block
	Last    uint64 // sequence of the last block
	RowFrom uint32 // first row, counted over all blocks of the range
	RowTo   uint32 // one past the last row; 0 means all rows
	Hash    Hash   // over the blocks' content hashes in order
}

// String returns the token as sinks see it:
// job/lineage/first-last/hash, with rows [from,to) between when it is a part of the blocks.
func (t Token) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s/%d-%d/", t.Job, t.Lineage, t.First, t.Last)
	if t.RowTo != 0 {
		fmt.Fprintf(&b, "r%d-%d/", t.RowFrom, t.RowTo)
	}
	fmt.Fprintf(&b, "%x", t.Hash[:])
	return b.String()
}
