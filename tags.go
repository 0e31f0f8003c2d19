package pratique

// TagPage is a part of a registry's list of tags.
type TagPage struct {
	// Tags are in the order of the registry.
	Tags []string
	// Invalid is how many names were skipped because they are not valid tags.
	Invalid int
	// Next is the token for the next page, empty after the last one.
	Next string
	// ETag is the registry's ETag of the page; empty if it has none.
	ETag string
	// NotModified says that the page has not changed since the ETag that was sent. Then the other
	// fields are empty.
	NotModified bool
}

// KnownTag is what senders and registries have reported about a tag. The zero value is that of an
// unknown tag.
type KnownTag struct {
	// Digest is the newest one, zero if none is known or a late report made it uncertain.
	Digest Digest
	// Generation counts how often the tag was reported, with repeats.
	Generation uint64
	// Waiting says that a push without a digest has not been resolved yet.
	Waiting bool
}
