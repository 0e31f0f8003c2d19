package pratique

// TagPage is a part of a registry's list of tags.
type TagPage struct {
	// Tags are in the order of the registry.
	Tags []string
	// Invalid is how many names were left out because they are no tags by the grammar.
	Invalid int
	// Next asks for the page that follows; it is empty after the last.
	Next string
	// ETag is the registry's, to be sent with the same question; empty if it gave none.
	ETag string
	// NotModified says that the page is still what it was when it had the ETag sent. Then the rest is
	// empty.
	NotModified bool
}

// KnownTag is what senders and registries have told of a tag; the zero value is that of a tag never
// heard of.
type KnownTag struct {
	// Digest is the newest one, zero if none is known or a late report has made it unsure.
	Digest Digest
	// Generation counts how often the tag was reported, with repeats.
	Generation uint64
	// Waiting says that a push without a digest waits to be resolved.
	Waiting bool
}
