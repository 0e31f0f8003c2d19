package rescan

import (
	"time"

	"github.com/pratique-dev/pratique"
)

// Delta is what differs between two databases, as far as it can change the answer of a match.
type Delta struct {
	// Everything says why every list may be affected; empty if the rest says it all.
	Everything string
	// Names are the keys of the packages about which advisories differ. The adapter that made the delta
	// makes the same keys of a list's packages.
	Names []string
	// Vulnerabilities are the ids of those whose details differ. They concern the lists that have them.
	Vulnerabilities []string
}

// ListID is the number that an inventory gives to a list.
type ListID uint32

// SubjectID is the number that an inventory gives to an image, or to an index of images.
type SubjectID uint32

// List is a stored list that has to be matched again.
type List struct {
	ID ListID
	// Digest is that of its document. Findings is the document of what was found in it with the database
	// before; zero if that is not known.
	Digest, Findings pratique.Digest
}

// ListResult is what was found in a list: the document of its findings, and the ids of the vulnerabilities
// in it. Failed says why it could not be matched, and then Findings is a document that says so, or zero.
type ListResult struct {
	ID              ListID
	Findings        pratique.Digest
	Vulnerabilities []string
	Failed          string
}

// StaleImage is an image whose newest report may not be what the database in use gives. It comes with what
// is needed to tell, and to have it evaluated again.
type StaleImage struct {
	ID      SubjectID
	Subject pratique.Subject
	// Inventory is the newest, Report the newest about it.
	Inventory, Report pratique.Digest
	// Event is the work that the report was made for, Previous the work for the report before it.
	Event, Previous string
	// Database is the one that the report names.
	Database pratique.Digest
	// Before are the findings of the report, Now those with the database in use; both by the inventory's lists.
	Before, Now []pratique.Digest
	// Refresh says that the report has to name the database in use even if it finds the same. Another
	// platform of the same index is going to be evaluated, and the age of the database counts there, too.
	Refresh bool
	// Evaluated says whether there is a verdict. Without one, the work that will evaluate the image is under way.
	Evaluated bool
	// Unmatched says why one of its lists could not be matched. Now is empty if no document says so.
	Unmatched string
	// Evaluate are the pushes to evaluate again: those of the image, and of the indexes around it.
	Evaluate []Push
}

// Push is a subject and the newest push of it.
type Push struct {
	Subject pratique.Subject
	Ref     pratique.ImageRef
	At      time.Time
	// RefreshOnly says that no sender reported it: only sweeps found it.
	RefreshOnly bool
}

// ImageResult is what became of a stale image: the report that holds now.
type ImageResult struct {
	ID       SubjectID
	Report   pratique.Digest
	Findings []pratique.Digest
	// Event is empty if the report is the one from before.
	Event string
	// Failed says why the image is set aside until the next database. Empty if it was dealt with.
	Failed string
}
