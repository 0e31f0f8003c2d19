package pratique

// Stage is a step of the line that takes its work from a queue.
type Stage string

// The stages, in the order of the line. They are untyped, because the same names stand in facts:
// of who wrote a fact, and of what failed.
const (
	StageInspect = "inspect"
	StageAttest  = "attest"
	StageDeploy  = "deploy"
)

// StageRescan is in facts about images that could not be matched again. It has no queue.
const StageRescan = "rescan"

// Stages returns every stage that has a queue, in the order of the line.
func Stages() []Stage { return []Stage{StageInspect, StageAttest, StageDeploy} }

// Message is work for one priority of a stage. It carries ids and digests, never documents.
type Message struct {
	Priority Priority
	// ID makes a message that is published again one message.
	ID   string
	Body []byte
}
