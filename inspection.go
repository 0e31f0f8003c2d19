package pratique

import "time"

// Inspection is what inspecting one platform image gives. In JSON it is what a child process says
// of it; the other fields are the parent's.
type Inspection struct {
	Image     ImageConfig `json:"image"`
	Inventory Inventory   `json:"inventory"`
	// Extras is nil if nothing was looked for besides packages.
	Extras *Extras `json:"extras,omitempty"`
	// Generator is the tool that made the SBOMs, Packages the number of packages in them.
	Generator Tool `json:"generator"`
	Packages  int  `json:"packages"`
	// Compared says how the inventory and the SBOMs differ.
	Compared Comparison `json:"compared"`
	// SPDX and CycloneDX are the SBOMs as JSON.
	SPDX      []byte `json:"-"`
	CycloneDX []byte `json:"-"`
	// JavaDatabase is the database in which jars were looked up, if there was one, and
	// JavaUpdatedAt when its publisher built it.
	JavaDatabase  Digest    `json:"-"`
	JavaUpdatedAt time.Time `json:"-"`
}

// PendingDenial is an image whose newest verdict denies, and whose registry does not show that yet:
// the signature or the summary of an earlier verdict may still be there. Or it is an index whose
// newest verdict allows, although that of an image in it denies.
type PendingDenial struct {
	Subject Subject
	// Since is the time of the verdict, for an index that of its image's.
	Since time.Time
	// Contradicted says that it is such an index.
	Contradicted bool
	// Pushed is the subject that was pushed, the image or an index that lists it, with its newest
	// push. Both are zero if nobody has pushed it since the ledger began.
	Pushed Subject
	Push   Event
	// Idle says that the work for that push has ended.
	Idle bool
}
