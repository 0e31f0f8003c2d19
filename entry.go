package pratique

// Entry is a fact at its position in the ledger; the first position is 1. Mark identifies the stream
// and the content of the entry. If the stream lost its tail or was replaced, another entry at the
// same position has another mark. Err says why the entry is not a fact that this program knows; then
// Fact is zero.
type Entry struct {
	Seq  uint64
	Mark string
	Fact Fact
	Err  error
}
