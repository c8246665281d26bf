package frontier

// Novelty says whether an answer had content that was not archived before.
type Novelty byte

// What an answer is.
const (
	Novel       Novelty = iota
	ByHash              // its payload is archived already
	NotModified         // the server says so
)

// Novelties count answers by their novelty, each time that a URL was fetched. Bytes are those of all answers; those of novel
// answers are what is left when the others are subtracted.
type Novelties struct {
	Novel, ByHash, ByHashBytes, NotModified, NotModifiedBytes uint64
}

func (n *Novelties) fields() []*uint64 {
	return []*uint64{&n.Novel, &n.ByHash, &n.ByHashBytes, &n.NotModified, &n.NotModifiedBytes}
}

// add counts an answer.
func (n *Novelties) add(is Novelty, bytes uint64) {
	switch is {
	case ByHash:
		n.ByHash++
		n.ByHashBytes += bytes
	case NotModified:
		n.NotModified++
		n.NotModifiedBytes += bytes
	default:
		n.Novel++
	}
}
