package pipeline

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Narrow leaves of a part the packages that a change concerns, by the keys of a delta and by names of packages; ok is
// false if the whole part must be matched.
type Narrow func(part pratique.Inventory, names, packages map[string]bool) (narrow pratique.Inventory, ok bool)

// narrowing is the delta of the re-match that this process began, as far as it allows to match less than whole parts.
// A process that goes on with what another began has none, and matches whole parts.
type narrowing struct {
	to                     pratique.Digest
	names, vulnerabilities map[string]bool

	// packages is what was found in single packages: builds of one application share most of them, in lists of their own.
	mu       sync.Mutex
	packages map[pratique.Digest][]scanner.Found
	findings int
}

// mostFindings bounds what is remembered of packages.
const mostFindings = 100_000

// narrowed is a part on its way through the matcher.
type narrowed struct {
	// pieces are what is to be matched of it: the whole part, or packages; none if nothing is.
	pieces []piece
	// old are the findings before, if they are known; kept are those of them that stay.
	known     bool
	old, kept []scanner.Found
}

// prepare loads a part and cuts off what the delta does not concern.
func (s *Rematch) prepare(ctx context.Context, p scanner.Part, db pratique.Digest) (narrowed, error) {
	part, err := scanner.LoadPart(ctx, named{&s.Base}, p.Digest)
	if err != nil {
		return narrowed{}, orLost(err)
	}
	n := narrowed{pieces: []piece{{inventory: part}}}
	if p.Findings.IsZero() {
		return n, nil
	}
	if n.old, err = scanner.LoadFound(ctx, named{&s.Base}, p.Findings); isLost(orLost(err)) {
		return n, nil
	} else if err != nil {
		return narrowed{}, err
	}
	n.known = true
	if s.narrowing == nil || s.narrowing.to != db {
		return n, nil
	}
	also := map[string]bool{}
	for _, f := range n.old {
		if s.narrowing.vulnerabilities[f.ID] {
			also[f.Package] = true
		}
	}
	narrow, ok := s.Narrow(part, s.narrowing.names, also)
	if !ok {
		return n, nil
	}
	again := map[string]bool{}
	for _, l := range narrow.Lists {
		for _, p := range l.Packages {
			again[p.Name] = true
		}
	}
	for _, f := range n.old {
		if !again[f.Package] {
			n.kept = append(n.kept, f)
		}
	}
	n.pieces, err = s.narrowing.cut(narrow)
	return n, err
}

// piece is what is matched by itself.
type piece struct {
	inventory pratique.Inventory
	// key is that of a single package, whose findings are the same in every list of that kind; zero for others. What is
	// said of the list that it is in, layer and uid, is given to them afterwards.
	key   pratique.Digest
	layer pratique.LayerID
	uid   string
	// known says that found is the answer.
	known bool
	found []scanner.Found
}

// cut makes pieces of a list of an application: packages of one name stay together, because only among them the matcher
// tells repetitions.
func (n *narrowing) cut(part pratique.Inventory) ([]piece, error) {
	var pieces []piece
	for _, l := range part.Lists {
		byName := map[string][]pratique.Package{}
		var names []string
		for _, p := range l.Packages {
			if byName[p.Name] == nil {
				names = append(names, p.Name)
			}
			byName[p.Name] = append(byName[p.Name], p)
		}
		for _, name := range names {
			one := l
			one.Packages = byName[name]
			p := piece{inventory: pratique.Inventory{Scanner: part.Scanner, Lists: []pratique.PackageList{one}}}
			if len(one.Packages) == 1 {
				pkg := &one.Packages[0]
				p.layer, p.uid = pkg.Layer, pkg.UID
				pkg.Layer, pkg.UID = pratique.LayerID{}, ""
				raw, err := json.Marshal(p.inventory)
				if err != nil {
					return nil, pratique.Wrap(pratique.Internal, "encode package", name, err)
				}
				p.key = pratique.DigestOf(raw)
				n.mu.Lock()
				p.found, p.known = n.packages[p.key]
				n.mu.Unlock()
			}
			pieces = append(pieces, p)
		}
	}
	return pieces, nil
}

// answer takes over what was found in a piece, and returns it for the list that the piece is of.
func (s *Rematch) answer(p piece, found []scanner.Found) []scanner.Found {
	if p.key.IsZero() {
		return found
	}
	if n := s.narrowing; n != nil && !p.known {
		n.mu.Lock()
		if n.findings > mostFindings {
			n.packages, n.findings = nil, 0
		}
		if n.packages == nil {
			n.packages = map[pratique.Digest][]scanner.Found{}
		}
		n.packages[p.key], n.findings = found, n.findings+len(found)
		n.mu.Unlock()
	}
	own := slices.Clone(found)
	for i := range own {
		own[i].Layer, own[i].UID = p.layer, p.uid
	}
	return own
}

// finish puts together what holds now, stores it and remembers how it differs.
func (s *Rematch) finish(ctx context.Context, p scanner.Part, n narrowed, came []scanner.Found) (scanner.Matched, error) {
	findings := append(n.kept, came...)
	scanner.SortFound(findings)
	doc, err := scanner.FoundDocument(findings)
	if err != nil {
		return scanner.Matched{}, err
	}
	m := scanner.Matched{ID: p.ID, Findings: doc.Digest}
	for _, f := range findings {
		m.Vulnerabilities = append(m.Vulnerabilities, f.ID)
	}
	if doc.Digest == p.Findings {
		return m, nil
	}
	if _, err := s.Documents.Put(ctx, doc.Content); err != nil {
		return m, err
	}
	if n.known {
		s.changes.learn(p.Findings, doc.Digest, n.old, findings)
	}
	return m, nil
}
