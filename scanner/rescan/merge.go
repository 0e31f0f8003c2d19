package rescan

import (
	"reflect"
	"slices"
	"strconv"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Findings is what is found in a list with the new database.
type Findings struct {
	// Digest is that of the document that stands for the findings. Documents have to be stored before
	// anything names it; there is none if it is the document from before.
	Digest          pratique.Digest
	Documents       []scanner.Document
	Vulnerabilities []string
	// Difference is from what was found before; nil if that is not known.
	Difference *Difference
}

// merge puts the answers in the place of what was found before in the packages that were asked about.
func (q Question) merge(answers []*answer) (Findings, error) {
	if !q.partial {
		return q.result(answers[0].found, answers[0].covered)
	}
	asked := map[string]bool{}
	for _, query := range q.Queries {
		asked[query.packageName()] = true
	}
	var others, before, now []scanner.FindingCore
	for _, f := range q.previous.Findings {
		if asked[f.Package] {
			before = append(before, f)
		} else {
			others = append(others, f)
		}
	}
	for i, query := range q.Queries {
		for _, f := range answers[i].found {
			n, err := strconv.Atoi(f.UID)
			if err != nil || n < 0 || n >= len(query.locations) {
				return Findings{}, pratique.Errorf(pratique.Internal, "match inventory",
					"%s is found in package %q of %d", f.ID, f.UID, len(query.locations))
			}
			f.Layer, f.UID = query.locations[n].Layer, query.locations[n].UID
			now = append(now, f)
		}
	}
	slices.SortStableFunc(now, scanner.CompareCores)
	if reflect.DeepEqual(before, now) {
		return Findings{Digest: q.previous.Document, Vulnerabilities: ids(q.previous.Findings)}, nil
	}
	all := append(others, now...)
	slices.SortStableFunc(all, scanner.CompareCores)
	// The delta names all lists of which the coverage may differ as a whole, so this one's is as before.
	return q.result(all, q.previous.Coverage)
}

func (q Question) result(found []scanner.FindingCore, covered *pratique.Coverage) (Findings, error) {
	docs, err := scanner.EncodeFindings(found, covered)
	if err != nil {
		return Findings{}, err
	}
	f := Findings{Digest: docs[len(docs)-1].Digest, Vulnerabilities: ids(found)}
	if q.previous != nil {
		if f.Digest == q.previous.Document {
			return f, nil
		}
		d := Compare(q.previous.Findings, found)
		f.Difference = &d
	}
	f.Documents = docs
	return f, nil
}

func ids(found []scanner.FindingCore) []string {
	all := make([]string, len(found))
	for i := range found {
		all[i] = found[i].ID
	}
	return all
}

// Failed is what is found in a list on which the matcher failed: a document that says so takes the place of
// the findings, so that its images do not keep what was found before.
func Failed(list scanner.ListDocument) (Findings, error) {
	covered := scanner.FailedCoverage(list.Inventory)
	docs, err := scanner.EncodeFindings(nil, &covered)
	if err != nil {
		return Findings{}, err
	}
	return Findings{Digest: docs[len(docs)-1].Digest, Documents: docs}, nil
}
