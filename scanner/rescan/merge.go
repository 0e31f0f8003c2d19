package rescan

import (
	"reflect"
	"slices"
	"strconv"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Findings are the findings of a list with the new database.
type Findings struct {
	// Digest is that of the document that represents the findings. Documents have to be stored
	// before anything names them; there are none if the findings did not change.
	Digest          pratique.Digest
	Documents       []scanner.Document
	Vulnerabilities []string
	// Difference is from the previous findings; nil if these are not known.
	Difference *Difference
}

// merge replaces the previous findings of the queried packages by the answers.
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
					"%s is in package %q of %d", f.ID, f.UID, len(query.locations))
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
	// The delta names all lists whose coverage may have changed, so this one's has not.
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

// Failed returns the findings of a list that the matcher failed on: a document that says so, so
// that its images do not keep the previous findings.
func Failed(list scanner.ListDocument) (Findings, error) {
	covered := scanner.FailedCoverage(list.Inventory)
	docs, err := scanner.EncodeFindings(nil, &covered)
	if err != nil {
		return Findings{}, err
	}
	return Findings{Digest: docs[len(docs)-1].Digest, Documents: docs}, nil
}
