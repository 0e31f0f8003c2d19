package rescan

import (
	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/scanner"
)

// answer is what the matcher found for a query. Coverage is nil if the query was answered for
// another list: for packages it does not matter.
type answer struct {
	found   []scanner.FindingCore
	covered *pratique.Coverage
}

// Request asks the matcher several questions at once.
type Request struct {
	questions []Question
	change    *Change
	// answers are by question and query; nil if not known.
	answers [][]*answer
	// keys and positions belong to the result of Pending: the key of each inventory, and the
	// queries that it answers.
	keys      []pratique.Digest
	positions [][]position
}

// position is a query of a question.
type position struct{ question, query int }

// NewRequest returns a request for questions that were asked about one change, which may be nil.
func NewRequest(questions []Question, change *Change) *Request {
	r := &Request{questions: questions, change: change, answers: make([][]*answer, len(questions))}
	for i, q := range questions {
		r.answers[i] = make([]*answer, len(q.Queries))
	}
	return r
}

// Pending returns what has to be matched, each query once. Queries that another request has
// answered are not in it.
func (r *Request) Pending() []pratique.Inventory {
	var all []pratique.Inventory
	known := map[pratique.Digest]int{}
	r.keys, r.positions = nil, nil
	for i, q := range r.questions {
		for j, query := range q.Queries {
			if r.answers[i][j] != nil {
				continue
			}
			if found, ok := r.change.cached(query.key); ok {
				r.answers[i][j] = &answer{found: found}
				continue
			}
			n, ok := known[query.key]
			if !ok || query.key.IsZero() {
				n = len(all)
				known[query.key] = n
				all, r.keys, r.positions = append(all, query.Inventory), append(r.keys, query.key),
					append(r.positions, nil)
			}
			r.positions[n] = append(r.positions[n], position{i, j})
		}
	}
	return all
}

// SetReports sets the reports on the last result of Pending, in order.
func (r *Request) SetReports(reports []pratique.Report) error {
	if len(reports) != len(r.positions) {
		return pratique.Errorf(pratique.Internal, "match inventory", "%d reports on %d lists",
			len(reports), len(r.positions))
	}
	for n, report := range reports {
		found, err := scanner.Cores(report.Findings)
		if err != nil {
			return err
		}
		r.change.cache(r.keys[n], found)
		for _, at := range r.positions[n] {
			r.answers[at.question][at.query] = &answer{found, report.Coverage}
		}
	}
	return nil
}

// Findings returns the findings of the list of a question. All of Pending must have been answered.
func (r *Request) Findings(question int) (Findings, error) {
	return r.questions[question].merge(r.answers[question])
}
