// Package rescan decides what a change of the vulnerability database means: what the matcher has to be asked
// about a package list, what is found in the list by the answers, and what becomes of the images that hold
// it. The result is always that of matching everything again. It reads documents, and writes nothing. It is
// also the contract with the inventory, which remembers what is left to do.
package rescan

import (
	"encoding/json"
	"strconv"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// Previous is what was found in a list with the database before.
type Previous struct {
	// Document stands for the findings.
	Document pratique.Digest
	Findings []scanner.FindingCore
	Coverage *pratique.Coverage
}

// Question is what the matcher has to be asked about one list.
type Question struct {
	// Queries are matched by themselves. There is none if nothing of the list is concerned.
	Queries []Query
	// partial says that the queries are packages of the list, and not the whole list.
	partial bool
	// previous is nil if it is not known.
	previous *Previous
}

// Query is a list that is matched by itself: a whole one, or packages of one.
type Query struct {
	Inventory pratique.Inventory
	// key is zero for a whole list. Queries with the same key have the same answer, whatever list they are
	// from: their packages have no layer, and their UIDs are numbers of locations.
	key       pratique.Digest
	locations []scanner.Location
}

func (q Query) packageName() string { return q.Inventory.Lists[0].Packages[0].Name }

// Ask returns what to ask about a list. Without what was found before, or a change that says what differs,
// that is the whole list.
func Ask(list scanner.ListDocument, previous *Previous, change *Change) (Question, error) {
	if numbers, ok := change.concerned(list.Inventory, previous); ok {
		concerned, err := list.Only(numbers)
		if err != nil {
			return Question{}, err
		}
		if change.comparable(concerned) {
			queries, err := divide(concerned)
			return Question{Queries: queries, partial: true, previous: previous}, err
		}
	}
	whole, err := list.Whole()
	return Question{Queries: []Query{{Inventory: whole}}, previous: previous}, err
}

// divide makes queries of packages of one list. Packages with the same name stay together: the matcher
// drops repeated findings among them.
func divide(inv pratique.Inventory) ([]Query, error) {
	var queries []Query
	list := inv.Lists[0]
	byName := map[string][]pratique.Package{}
	var names []string
	for _, p := range list.Packages {
		if byName[p.Name] == nil {
			names = append(names, p.Name)
		}
		byName[p.Name] = append(byName[p.Name], p)
	}
	for _, name := range names {
		list.Packages = byName[name]
		var q Query
		for i := range list.Packages {
			p := &list.Packages[i]
			q.locations = append(q.locations, scanner.Location{Layer: p.Layer, UID: p.UID})
			p.Layer, p.UID = pratique.LayerID{}, strconv.Itoa(i)
		}
		q.Inventory = inv
		q.Inventory.Lists = []pratique.PackageList{list}
		raw, err := json.Marshal(q.Inventory)
		if err != nil {
			return nil, pratique.Wrap(pratique.Internal, "encode package", name, err)
		}
		q.key = pratique.DigestOf(raw)
		queries = append(queries, q)
	}
	return queries, nil
}
