package pratique

// Stage is a step of the pipeline with a queue.
type Stage string

// The stages in their order. They are untyped, because facts about failures name other parts of the
// service in the same field.
const (
	StageInspect = "inspect"
	StageAttest  = "attest"
	StageDeploy  = "deploy"
)

// StageRescan is the stage in facts about failed rescans. It has no queue.
const StageRescan = "rescan"

// Stages returns every stage with a queue, in their order.
func Stages() []Stage { return []Stage{StageInspect, StageAttest, StageDeploy} }

// Message is a job for one priority of a stage. It carries ids and digests, never documents.
type Message struct {
	Priority Priority
	// ID makes a message that is published again one message.
	ID   string
	Body []byte
}
