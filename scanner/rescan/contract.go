package rescan

import (
	"time"

	"github.com/pratique-dev/pratique"
)

// Delta is the difference between two databases, as far as it can affect a match.
type Delta struct {
	// Everything says why every list may be affected; empty if Names and Vulnerabilities are
	// complete.
	Everything string
	// Names are the keys of the packages whose advisories differ. The adapter makes the same keys
	// for the packages of a list.
	Names []string
	// Vulnerabilities are the ids whose details differ. They affect the lists that have them.
	Vulnerabilities []string
}

// ListID identifies a list in an inventory projection.
type ListID uint32

// SubjectID identifies an image, or an index, in an inventory projection.
type SubjectID uint32

// List is a stored list that has to be matched again.
type List struct {
	ID ListID
	// Digest is that of its document. Findings is the document of its findings with the previous
	// database; zero if that is not known.
	Digest, Findings pratique.Digest
}

// ListResult is the result of matching a list: the document of its findings, and the ids of their
// vulnerabilities. Failed says why it could not be matched; then Findings is a document that says
// so, or zero.
type ListResult struct {
	ID              ListID
	Findings        pratique.Digest
	Vulnerabilities []string
	Failed          string
}

// StaleImage is an image whose newest report may be outdated, with what is needed to find out, and
// to have it evaluated again.
type StaleImage struct {
	ID      SubjectID
	Subject pratique.Subject
	// Inventory is the newest one, Report the newest one about it.
	Inventory, Report pratique.Digest
	// Event is the work that made the report, Previous the work that made the report before it.
	Event, Previous string
	// Database is the database of the report.
	Database pratique.Digest
	// Before are the findings of the report, Now those with the database in use, both by the
	// inventory's lists.
	Before, Now []pratique.Digest
	// Refresh requests a report that names the database in use even if the findings are the same:
	// another platform of the same index is being evaluated, and the age of the database counts
	// there, too.
	Refresh bool
	// Evaluated reports whether there is a verdict. Without one, the first evaluation is still
	// under way.
	Evaluated bool
	// Unmatched says why one of its lists could not be matched. Now is empty if no document says
	// so.
	Unmatched string
	// Evaluate are the pushes to evaluate again: those of the image, and of indexes that contain
	// it.
	Evaluate []Push
}

// Push is a subject with its newest push.
type Push struct {
	Subject pratique.Subject
	Ref     pratique.ImageRef
	At      time.Time
	// RefreshOnly reports that only sweeps found it, no sender reported it.
	RefreshOnly bool
}

// ImageResult is what was done for a stale image: the report that is valid now.
type ImageResult struct {
	ID       SubjectID
	Report   pratique.Digest
	Findings []pratique.Digest
	// Event is empty if the report did not change.
	Event string
	// Failed says why the image is set aside until the next database; empty if it was processed.
	Failed string
}
