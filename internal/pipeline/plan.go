package pipeline

import (
	"context"
	"slices"
	"strconv"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// plan is what becomes of all lists in which the same was found before, and is found in the same pieces now.
type plan struct {
	// shared is the document of what is found now, which is stored; zero if nothing is.
	shared pratique.Digest
	// from says of each finding where it has its place from: a number among those before, and those of the pieces after them.
	from            []int
	vulnerabilities []string
	added           added
	tally           tally
}

// matter leaves only the pieces in which something was found before, or is now.
func (n *narrowed) matter() {
	had := map[string]bool{}
	for _, f := range n.old {
		had[f.Package] = true
	}
	n.pieces = slices.DeleteFunc(n.pieces, func(p piece) bool { return len(p.found) == 0 && !had[p.name()] })
}

func (p piece) name() string { return p.inventory.Lists[0].Packages[0].Name }

// planFor returns what becomes of a list of packages, and makes it if it is not known.
func (s *Rescan) planFor(ctx context.Context, n narrowed) (*plan, error) {
	keys := []pratique.Digest{n.shared}
	for _, p := range n.pieces {
		keys = append(keys, p.key)
	}
	key, memo := joinDigests(keys), s.narrowing
	memo.mu.Lock()
	known := memo.plans[key]
	memo.mu.Unlock()
	if known != nil {
		return known, nil
	}
	made, reusable, err := s.makePlan(ctx, n)
	if err != nil || !reusable {
		return made, err
	}
	memo.mu.Lock()
	defer memo.mu.Unlock()
	memo.bound(1 + len(made.from)/8) // it is small beside findings
	memo.plans[key] = made
	return made, nil
}

// traced is a finding that knows where it has its place from.
type traced struct {
	scanner.Found
	from int
}

// makePlan puts together what holds now, and stores what lists share of it.
func (s *Rescan) makePlan(ctx context.Context, n narrowed) (made *plan, reusable bool, err error) {
	again, places := map[string]bool{}, n.allPlaces()
	for _, p := range n.pieces {
		again[p.name()] = true
	}
	var all []traced
	for i, f := range n.old {
		if !again[f.Package] {
			all = append(all, traced{f, i})
		}
	}
	first := len(n.old)
	for _, p := range n.pieces {
		for _, f := range p.found {
			number, err := strconv.Atoi(f.UID)
			if err != nil || number < 0 || number >= len(p.places) {
				return nil, false, pratique.Errorf(pratique.Internal, "match inventory", "%s is found in package %q of %d", f.ID, f.UID, len(p.places))
			}
			all = append(all, traced{f, first + number})
		}
		first += len(p.places)
	}
	for i := range all {
		all[i].UID = places[all[i].from].UID
	}
	slices.SortStableFunc(all, func(a, b traced) int { return scanner.CompareFound(a.Found, b.Found) })
	made = &plan{}
	found := make([]scanner.Found, len(all))
	for i, f := range all {
		found[i] = f.Found
		made.from, made.vulnerabilities = append(made.from, f.from), append(made.vulnerabilities, f.ID)
	}
	made.added, made.tally = compare(n.old, found), tallyOf(found)
	if len(found) > 0 {
		doc, err := scanner.SharedDocument(found)
		if err != nil {
			return nil, false, err
		}
		if made.shared = doc.Digest; made.shared != n.shared {
			if _, err := s.Documents.Put(ctx, doc.Content); err != nil {
				return nil, false, err
			}
		}
	}
	return made, !hasTwins(found), nil
}

// hasTwins says whether nothing but their places tells two sorted findings apart: they may be in another order in the next
// list.
func hasTwins(found []scanner.Found) bool {
	for i := 1; i < len(found); i++ {
		a, b := found[i-1], found[i]
		if a.UID, b.UID = "", ""; scanner.CompareFound(a, b) == 0 {
			return true
		}
	}
	return false
}

// finish stores what holds now for a part, and remembers how it differs.
func (s *Rescan) finish(ctx context.Context, p scanner.Part, n narrowed) (scanner.Matched, error) {
	if !n.packages {
		return s.finishWhole(ctx, p, n)
	}
	n.matter()
	does, err := s.planFor(ctx, n)
	if err != nil {
		return scanner.Matched{}, err
	}
	all := n.allPlaces()
	places := make([]scanner.Place, len(does.from))
	for i, from := range does.from {
		places[i] = all[from]
	}
	doc, err := scanner.PlacedDocument(scanner.Placed{Shared: does.shared, Places: places, Coverage: n.covered})
	if err != nil {
		return scanner.Matched{}, err
	}
	m := scanner.Matched{ID: p.ID, Findings: doc.Digest, Vulnerabilities: slices.Clone(does.vulnerabilities)}
	if doc.Digest == p.Findings {
		return m, nil
	}
	if _, err := s.Documents.Put(ctx, doc.Content); err != nil {
		return m, err
	}
	s.changes.learn(p.Findings, doc.Digest, does.added, does.tally)
	return m, nil
}

// finishWhole is finish for a part that was matched as a whole.
func (s *Rescan) finishWhole(ctx context.Context, p scanner.Part, n narrowed) (scanner.Matched, error) {
	findings := n.pieces[0].found
	docs, err := scanner.FoundDocuments(findings, n.pieces[0].covered)
	if err != nil {
		return scanner.Matched{}, err
	}
	m := scanner.Matched{ID: p.ID, Findings: docs[len(docs)-1].Digest}
	for _, f := range findings {
		m.Vulnerabilities = append(m.Vulnerabilities, f.ID)
	}
	if m.Findings == p.Findings {
		return m, nil
	}
	if err := s.putAll(ctx, docs); err != nil {
		return m, err
	}
	if n.known {
		s.changes.learn(p.Findings, m.Findings, compare(n.old, findings), tallyOf(findings))
	}
	return m, nil
}

// allPlaces are the places before, and those of the pieces.
func (n narrowed) allPlaces() []scanner.Place {
	all := slices.Clone(n.places)
	for _, p := range n.pieces {
		all = append(all, p.places...)
	}
	return all
}
