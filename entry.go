package pratique

// Entry is a fact at its position in the ledger; the first has position 1. The ledger recognizes the
// entry by its Mark: of the stream, and of what the entry says, so that another entry at the same
// position, of a stream that lost its tail or was made again, has another mark. Err says why the entry
// is no fact that this program knows; then Fact is zero, which no reader takes for a fact.
type Entry struct {
	Seq  uint64
	Mark string
	Fact Fact
	Err  error
}
