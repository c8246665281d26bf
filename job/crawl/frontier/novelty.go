package frontier

// Novelty is whether an answer had what was not archived before.
type Novelty byte

// What an answer is.
const (
	Novel       Novelty = iota
	ByHash              // its payload is archived already
	NotModified         // the server says so
)

// Novelties count answers, each time that a URL was fetched, by what they were. Bytes are those that came; those of Novel are
// all others.
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
