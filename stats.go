package pratique

import "time"

// OutboxStats are the backlog and the counters of the outbox, for the metrics, the API and the
// command line.
type OutboxStats struct {
	Waiting    int   `json:"waiting" doc:"Events on their way into the queue"`
	Unresolved int   `json:"unresolved" doc:"Tags that were pushed by a sender that does not tell the digest; the registry is being asked"`
	Refused    int   `json:"refused" doc:"Events set aside because the queue will never take them"`
	Bytes      int64 `json:"bytes" doc:"What waiting and unresolved take of maxBytes; when that is reached, senders are asked to come again"`
	MaxBytes   int64 `json:"maxBytes"`
	// Oldest and OldestUnresolved are zero if there is none.
	Oldest           time.Time `json:"oldest,omitzero" doc:"When the oldest of waiting came in; absent if there is none"`
	OldestUnresolved time.Time `json:"oldestUnresolved,omitzero" doc:"When the oldest of unresolved came in; absent if there is none"`
	// These counters only rise while the process runs. A push without a digest that turned out to be
	// a repeat is in both Stored and Duplicates. FailedCommits are, for example, those on a full
	// disk.
	Stored        uint64 `json:"stored" doc:"Events that were stored as news since the service was started"`
	Duplicates    uint64 `json:"duplicates" doc:"Events that were known already, since the service was started"`
	Forwarded     uint64 `json:"forwarded" doc:"Events that the queue has acknowledged since the service was started"`
	RefusedFull   uint64 `json:"refusedFull" doc:"Requests that found the outbox full, since the service was started"`
	FailedCommits uint64 `json:"failedCommits" doc:"Writes that failed and did no harm, since the service was started"`
}

// QueueStats are the backlog of one priority of one stage.
type QueueStats struct {
	Stage    Stage    `json:"stage" doc:"inspect, attest or deploy"`
	Priority Priority `json:"priority" doc:"push, manual or rescan"`
	Total    uint64   `json:"total" doc:"Running and waiting together"`
	Running  uint64   `json:"running" doc:"Jobs that a worker has, as the list of jobs says it"`
	Waiting  uint64   `json:"waiting" doc:"Jobs that wait for a worker, or for another attempt"`
	// Oldest is zero if there is none.
	Oldest time.Time `json:"oldest,omitzero" doc:"When the oldest job was put into the queue; absent if there is none"`
}

// Rescan is the progress of matching known images against the database in use, To. Findings from the
// database before, From, that are not to be matched again hold for To, too.
type Rescan struct {
	From       Digest    `json:"from,omitzero" doc:"The database before; absent for the first"`
	To         Database  `json:"to" doc:"The database in use"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt,omitzero" doc:"Absent while it goes on"`
	// Everything says why all lists are matched again. It is empty if only lists with one of Names
	// or Vulnerabilities are, which count what differs.
	Everything      string `json:"everything,omitempty" doc:"Why all package lists are matched again; absent if only those are that what changed can affect"`
	Names           int    `json:"names" doc:"Packages about which advisories differ"`
	Vulnerabilities int    `json:"vulnerabilities" doc:"Vulnerabilities whose details differ"`
	Lists           int    `json:"lists" doc:"Package lists that are known"`
	Affected        int    `json:"affected" doc:"Lists to be matched again"`
	Matched         int    `json:"matched" doc:"Lists that were matched again so far"`
	Failed          int    `json:"failed" doc:"Of these, those that could not be matched: their images are denied"`
	Touched         int    `json:"touched" doc:"Images that were looked at so far"`
	Changed         int    `json:"changed" doc:"Images whose findings differ; they are evaluated again"`
	NewlyAffected   int    `json:"newlyAffected" doc:"Images with new findings"`
	SetAside        int    `json:"setAside" doc:"Images that could not be looked at: they keep their reports until the next database, or a push"`
}

// Sweep is the progress of the sweeps of a repository. Its numbers are those of the sweep in
// progress, otherwise of the last one. A zero time means never, or not now.
type Sweep struct {
	Repository string    `json:"repository" doc:"registry/path"`
	State      string    `json:"state" enum:"idle,waiting,sweeping,failed" doc:"idle or failed after the last sweep; waiting to start, or, with retryAt, for the registry"`
	Started    time.Time `json:"started,omitzero"`
	Finished   time.Time `json:"finished,omitzero" doc:"When the last sweep ended"`
	Next       time.Time `json:"next,omitzero" doc:"When the next one begins; absent while one is in progress"`
	SweepTally
	Error   string    `json:"error,omitempty" doc:"Why the last sweep failed, or why the one in progress waits"`
	RetryAt time.Time `json:"retryAt,omitzero" doc:"When the sweep in progress continues"`
	// Totals are for the metrics.
	Totals SweepTotals `json:"-"`
}

// SweepTally counts what a sweep found. Tags is the sum of Unchanged, News and Skipped.
type SweepTally struct {
	Tags      int            `json:"tags" doc:"Tags that were checked: unchanged, news and skipped"`
	Unchanged int            `json:"unchanged"`
	News      int            `json:"news" doc:"Tags with a push that no webhook reported; they are evaluated"`
	Skipped   map[string]int `json:"skipped,omitempty" doc:"Tags that were skipped, by reason: signature-tag, filter, waiting, overtaken, vanished, not-a-tag, unreadable"`
	Requests  int            `json:"requests" doc:"Requests to the registry"`
	Restored  int            `json:"restored,omitempty" doc:"Images that are attested again because the registry lost their attestations"`
}

// SweepTotals are about all sweeps of a repository.
type SweepTotals struct {
	// Interval is the time between two sweeps.
	Interval time.Duration
	// LastSuccess is when a sweep last succeeded, perhaps before the process began; zero if none
	// did.
	LastSuccess time.Time
	// News counts the pushes that no webhook reported, Failures the failed sweeps. Both only grow
	// while the process runs.
	News, Failures uint64
}

// Aside is an image that could not be scanned with the database in use.
type Aside struct {
	Subject Subject `json:"subject"`
	Reason  string  `json:"reason"`
}
