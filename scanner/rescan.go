package scanner

import (
	"time"

	"github.com/pratique-dev/pratique"
)

// Delta is what differs between two databases, as far as it can change the answer of a match.
type Delta struct {
	// Everything says why every list may be affected; empty if the rest says it all.
	Everything string
	// Names are the keys of the packages about which advisories differ, as the adapter that made the delta makes them
	// of an inventory's part, too.
	Names []string
	// Vulnerabilities are the ids of those whose details differ. They concern the lists that have them.
	Vulnerabilities []string
}

// PartID is the number that an inventory gives to a part.
type PartID uint32

// SubjectID is the number that an inventory gives to an image, or to an index of images.
type SubjectID uint32

// Part is a stored part of inventories. Findings is the document of what was found in it with the database before;
// zero if that is not known.
type Part struct {
	ID               PartID
	Digest, Findings pratique.Digest
}

// Matched is the answer about one part: the document of its findings, and the ids of the vulnerabilities in it. A part
// that cannot be matched has a document that says so, or none, and Failed says why.
type Matched struct {
	ID              PartID
	Findings        pratique.Digest
	Vulnerabilities []string
	Failed          string
}

// Outdated is an image whose newest report may say something else than the database in use. What is needed to tell,
// and to evaluate it again, comes with it.
type Outdated struct {
	ID      SubjectID
	Subject pratique.Subject
	// Inventory is the newest, Report the newest about it. Event is the work that the report was made for.
	Inventory, Report pratique.Digest
	Event             string
	// Database is the one that the report names.
	Database pratique.Digest
	// Before are the findings of the report, Now what holds for the database in use; both by the inventory's parts.
	Before, Now []pratique.Digest
	// Refresh says that the report has to name the database in use even if it says the same, because another platform of
	// an index is going to be evaluated with it: the age of the database counts there, too.
	Refresh bool
	// Evaluated says whether there is a verdict; without one, the work that will evaluate the image is under way.
	Evaluated bool
	// Unmatched says why a part of it could not be matched, if that is so. Now is empty if no document says it.
	Unmatched string
	// Evaluate are the subjects to be evaluated again: those of the image and the indexes around it that were pushed.
	Evaluate []Pushed
}

// Pushed is a subject and the newest push of it.
type Pushed struct {
	Subject pratique.Subject
	Ref     pratique.ImageRef
	At      time.Time
	// RefreshOnly says that no sender reported it: sweeps found it, and order nothing.
	RefreshOnly bool
}

// Updated is what became of an outdated image: the report that holds now.
type Updated struct {
	ID       SubjectID
	Report   pratique.Digest
	Findings []pratique.Digest
	// Event is empty if the report is the one from before.
	Event string
	// Failed says why the image is set aside until the next database: it could not be dealt with. Empty if it was.
	Failed string
}
