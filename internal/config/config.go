// Package config reads the configuration of the service: strict YAML in which an unknown key, a missing
// secret or a bad value is an error that names file, line and key, and in which secrets stand only as
// references.
package config

import (
	_ "embed"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/queue/webhook"
)

// Sample is a complete configuration with every field explained.
//
//go:embed sample.yaml
var Sample []byte

// Config is the whole file. Every field has a usable zero value.
type Config struct {
	// DataDir holds everything that must outlive the process; default "pratique-data".
	DataDir string `yaml:"dataDir"`
	// Listen is the address of the HTTP server; default 127.0.0.1:8080.
	Listen string `yaml:"listen"`
	// PublicURL is how others reach this server; default "http://" and Listen. It is the verifier id's base.
	PublicURL string `yaml:"publicURL"`
	Log       Log    `yaml:"log"`

	Registries []Registry `yaml:"registries"`
	Receivers  []Receiver `yaml:"receivers"`
	Reconcile  Reconcile  `yaml:"reconcile"`
	// Platforms are what images are run on, for example linux/amd64. Children of an index that certainly do
	// not run there are not inspected; default all are. What cannot be inspected of the others denies.
	Platforms []pratique.Platform `yaml:"platforms"`
	// Workers are those of each stage, Priorities how many of them one priority may have.
	Workers    Workers    `yaml:"workers"`
	Priorities Priorities `yaml:"priorities"`
	Inspect    Inspect    `yaml:"inspect"`
	Database   Database   `yaml:"database"`
	Policy     Policy     `yaml:"policy"`
	Signing    Signing    `yaml:"signing"`
	Deploy     Deploy     `yaml:"deploy"`
	API        API        `yaml:"api"`
	Queue      Queue      `yaml:"queue"`
	Evidence   Evidence   `yaml:"evidence"`

	warnings []Problem
}

// Warnings are what is allowed and probably not meant, with file, line and key.
func (c *Config) Warnings() []Problem { return c.warnings }

// Log says how much is logged, and how.
type Log struct {
	// Level is debug, info, warn or error; default info.
	Level string `yaml:"level"`
	// Format is text or json; default text.
	Format string `yaml:"format"`
}

// Registry is a host that images are read from and attestations are written to. No other host is contacted.
type Registry struct {
	Host    string   `yaml:"host"`
	Aliases []string `yaml:"aliases"`
	// PlainHTTP says whether the host is asked without TLS; default for loopback addresses only.
	PlainHTTP *bool  `yaml:"plainHTTP"`
	Username  string `yaml:"username"`
	Password  Secret `yaml:"password"`
	// CA is a file with certificates, in PEM, of authorities that are trusted for this host beside those of the system.
	CA Secret `yaml:"ca"`
	// TokenHosts are other hosts whose token servers may see the credentials; RedirectHosts are hosts at
	// private addresses that serve this registry's blobs, and never see them.
	TokenHosts    []string `yaml:"tokenHosts"`
	RedirectHosts []string `yaml:"redirectHosts"`
	// Concurrency is how many requests may be under way at a time, half of them downloads of layers; default 16.
	Concurrency int `yaml:"concurrency"`
}

// Receiver is one webhook, served at /webhooks/NAME.
type Receiver struct {
	Name string `yaml:"name"`
	// Format is the sender's format; default distribution.
	Format string `yaml:"format"`
	// Registry is the host that this receiver's pushes are for; it must be one of Registries.
	Registry string `yaml:"registry"`
	// Repositories are the paths that may be reported, as globs by segment; default all of them.
	Repositories []pratique.Glob `yaml:"repositories"`
	// Prefixes maps a sender's own key for a repository (Artifactory, Nexus) to the path that it has in the registry.
	Prefixes map[string]string `yaml:"prefixes"`
	// Auth is how the sender shows who it is; default the best that the format has.
	Auth webhook.Method `yaml:"auth"`
	// Header carries the secret or the signature; default the sender's own, else Authorization. Prefix stands before
	// the digits of a signature.
	Header string `yaml:"header"`
	Prefix string `yaml:"prefix"`
	// Secrets are all valid at once; a file may hold several, one a line, and is read again when it changes.
	Secrets []Secret `yaml:"secrets"`
	OIDC    OIDC     `yaml:"oidc"`
	// Insecure accepts pushes from anybody.
	Insecure bool `yaml:"insecure"`
	// Untagged also evaluates manifests that are pushed by digest alone.
	Untagged bool    `yaml:"untagged"`
	Generic  Generic `yaml:"generic"`
	NATS     NATS    `yaml:"nats"`
}

// OIDC says which tokens of which identity provider a sender presents.
type OIDC struct {
	// Issuer defaults to Google's; KeysURL, where its keys are, must be given for any other.
	Issuer  string `yaml:"issuer"`
	KeysURL string `yaml:"keysURL"`
	// CA is as that of a registry, for KeysURL.
	CA Secret `yaml:"ca"`
	// Audience must be this service's own; Email and Claims must be those of the sender.
	Audience string            `yaml:"audience"`
	Email    string            `yaml:"email"`
	Claims   map[string]string `yaml:"claims"`
	// Subscription is what messages of Google's Pub/Sub must name; default any.
	Subscription string `yaml:"subscription"`
}

// Generic says in CEL where the fields are in the bodies of the generic format.
type Generic struct {
	// Events gives a list, default the body alone; the others are about one item of it.
	Events     string `yaml:"events"`
	When       string `yaml:"when"`
	Host       string `yaml:"host"`
	Repository string `yaml:"repository"`
	Tag        string `yaml:"tag"`
	Digest     string `yaml:"digest"`
	MediaType  string `yaml:"mediaType"`
	Actor      string `yaml:"actor"`
	ID         string `yaml:"id"`
	Time       string `yaml:"time"`
}

// NATS is a server on which a sender publishes its events, in place of HTTP.
type NATS struct {
	// URL is nats://HOST:PORT or tls://HOST:PORT.
	URL     string `yaml:"url"`
	Subject string `yaml:"subject"`
	// Stream is the JetStream stream that keeps the subject, so that nothing is missed while Pratique is away;
	// without it only what is published meanwhile is heard.
	Stream      string `yaml:"stream"`
	Username    string `yaml:"username"`
	Password    Secret `yaml:"password"`
	Credentials Secret `yaml:"credentials"`
}

// Reconcile says which repositories are looked through for pushes that no webhook told of.
type Reconcile struct {
	// Interval between two sweeps of a repository; default 1h.
	Interval Duration `yaml:"interval"`
	// RequestsPerMinute is for each registry; default 60.
	RequestsPerMinute int     `yaml:"requestsPerMinute"`
	Repositories      []Sweep `yaml:"repositories"`
}

// Sweep is one repository to look through.
type Sweep struct {
	// Repository is registry/path; the registry must be one of Registries.
	Repository string `yaml:"repository"`
	// Tags are globs; default all.
	Tags []pratique.Glob `yaml:"tags"`
}

// Inspect bounds the processes that parse images.
type Inspect struct {
	// Timeout is for one image; default 10m. Memory is for one process; default 2GiB.
	Timeout Duration `yaml:"timeout"`
	Memory  Size     `yaml:"memory"`
	// LayerStore bounds the decompressed layers kept on disk; default 20GiB.
	LayerStore Size `yaml:"layerStore"`
	// Written is what inspecting one image may write to disk; default 8GiB.
	Written Size `yaml:"written"`
	// InFlight bounds the bytes of layers, compressed and expanded, that are on their way at a time; default 4GiB.
	InFlight Size `yaml:"inFlight"`
	// LayerSize is how long one layer may be when it is expanded; default 20GiB.
	LayerSize Size `yaml:"layerSize"`
	// Entries bounds the files of an image, over all layers; default 1000000.
	Entries int64 `yaml:"entries"`
	// Layers bounds the layers of an image; default 256. IndexEntries bounds what an index names, indexes within it and
	// attestations counted; default 64.
	Layers       int `yaml:"layers"`
	IndexEntries int `yaml:"indexEntries"`
	// Confinement says what is done where the kernel cannot confine the processes: "auto", the default, goes on with
	// a warning, "require" refuses to, "off" confines nothing.
	Confinement string `yaml:"confinement"`
	// Isolation says which images share a process and what was found in their layers: "project", the default, those of
	// one registry whose paths begin alike up to the first slash; "repository"; "image" none, at a second of CPU each.
	Isolation string `yaml:"isolation"`
	// IncrementalSBOM has an image that lies on a known base cataloged above it only, if that gives the
	// same; default true. ShadowSBOM has one in so many images cataloged in full, too, and compared;
	// default 100, and 0 is never.
	IncrementalSBOM *bool `yaml:"incrementalSBOM"`
	ShadowSBOM      *int  `yaml:"shadowSBOM"`
	// AnalysisStore bounds what is kept of what was found in single layers; default 2GiB.
	AnalysisStore Size `yaml:"analysisStore"`
	// Scanners are what is looked for beside packages: secrets, misconfigurations, licenses. Default none.
	Scanners []pratique.ExtraKind `yaml:"scanners"`
}

// Workers are how many jobs each stage works on at a time.
type Workers struct {
	// Inspect is also how many processes parse images; default the number of processors, at most 4. Attest has as many by
	// default, and Deploy two for each config repository: one commits, and one waits for it.
	Inspect int `yaml:"inspect"`
	Attest  int `yaml:"attest"`
	Deploy  int `yaml:"deploy"`
}

// Priorities say how many of the workers of a stage may be busy with one priority. Pushes may have all.
type Priorities struct {
	// Manual is for submissions and sweeps; default all but one. Rescan is for what is evaluated anew; default half.
	// Both are at least 1.
	Manual int `yaml:"manual"`
	Rescan int `yaml:"rescan"`
}

// Database says where the vulnerability database comes from.
type Database struct {
	// Sources are OCI references, tried in order; default Trivy's own two.
	Sources []string `yaml:"sources"`
	// Dir is a directory on disk with trivy.db and metadata.json, used in place of Sources.
	Dir string `yaml:"dir"`
	// Offline asks no source: databases come by pratique db import alone.
	Offline bool `yaml:"offline"`
	// CA is as that of a registry, for Sources whose host is not one of Registries.
	CA Secret `yaml:"ca"`
	// Interval is the shortest time between looks for a new one; default 6h.
	Interval Duration `yaml:"interval"`
	// Java is the database that knows jars by their SHA-1.
	Java JavaDatabase `yaml:"java"`
}

// JavaDatabase says where the Java database comes from.
type JavaDatabase struct {
	// Sources are OCI references, tried in order; default none, and no Java database is used.
	Sources []string `yaml:"sources"`
}

// Policy chooses the rules and sets their parameters.
type Policy struct {
	// Dir holds Rego files; default the shipped policy.
	Dir string `yaml:"dir"`
	// BlockAt is the severity from which a finding denies; default HIGH. OnlyFixable spares findings
	// that no version mends. Unknown says whether findings without a severity deny: "deny" or "allow",
	// which is the default.
	BlockAt     string `yaml:"blockAt"`
	OnlyFixable bool   `yaml:"onlyFixable"`
	Unknown     string `yaml:"unknownSeverity"`
	// BlockSecrets denies what looks like a credential; it needs secrets among inspect.scanners.
	BlockSecrets bool `yaml:"blockSecrets"`
	// MaxDatabaseAge is how old the vulnerability database may be; default 72h.
	MaxDatabaseAge Duration `yaml:"maxDatabaseAge"`
	// DatabaseAgeExtension raises MaxDatabaseAge for a while.
	DatabaseAgeExtension DatabaseAgeExtension `yaml:"databaseAgeExtension"`
	// AllowedRepositories are globs by segment of registry/path; default all.
	AllowedRepositories []pratique.Glob `yaml:"allowedRepositories"`
	// These are globs by segment of registry/path, too: the images that the shipped policy would deny because not all of
	// them could be matched, and that pass with a note. Default none; see deploy/policy.Exceptions.
	AllowUnknownOS     []pratique.Glob `yaml:"allowUnknownOS"`
	AllowEndOfLife     []pratique.Glob `yaml:"allowEndOfLife"`
	AllowNoPackages    []pratique.Glob `yaml:"allowNoPackages"`
	AllowMixedPackages []pratique.Glob `yaml:"allowMixedPackages"`
	AllowOddPackages   []pratique.Glob `yaml:"allowOddPackages"`
}

// DatabaseAgeExtension lets the vulnerability database be older for a while: all three, or none.
type DatabaseAgeExtension struct {
	Age Duration `yaml:"age"`
	// Until is at most 31 days ahead when it is written.
	Until  Time   `yaml:"until"`
	Reason string `yaml:"reason"`
}

// Signing names the key pair. Without a key, a pair is made in DataDir at the first start.
type Signing struct {
	// Key is a cosign-compatible encrypted private key, Passphrase opens it.
	Key        Secret `yaml:"key"`
	Passphrase Secret `yaml:"passphrase"`
	// PublicKeys are those that signatures are verified with, before anything is written to Git. With a Key, its public
	// half has to be among them; without one the default is the public half of the pair in DataDir.
	PublicKeys []Secret `yaml:"publicKeys"`
	// VerifierID is the URI that verification summaries carry; default PublicURL.
	VerifierID string `yaml:"verifierID"`
}

// Deploy says where approved digests are written.
type Deploy struct {
	// MaxVerdictAge is how old a verification summary may be when it is acted on; default 24h.
	MaxVerdictAge Duration `yaml:"maxVerdictAge"`
	Targets       []Target `yaml:"targets"`
}

// Target is a folder of a branch of a config repository, and the images that belong there.
type Target struct {
	Name string `yaml:"name"`
	// Repository is a URL: https, http, ssh or file.
	Repository string `yaml:"repository"`
	// Branch defaults to main, Path to the whole tree.
	Branch string `yaml:"branch"`
	Path   string `yaml:"path"`
	// Images are globs by segment of registry/path; Tags are globs, default all.
	Images []pratique.Glob `yaml:"images"`
	Tags   []pratique.Glob `yaml:"tags"`

	Username string `yaml:"username"`
	Password Secret `yaml:"password"`
	// CA is as that of a registry, for an https Repository.
	CA         Secret `yaml:"ca"`
	SSHKey     Secret `yaml:"sshKey"`
	KnownHosts Secret `yaml:"sshKnownHosts"`
	// SigningKey is an OpenSSH private key that signs the commits; default unsigned.
	SigningKey  Secret `yaml:"signingKey"`
	AuthorName  string `yaml:"authorName"`
	AuthorEmail string `yaml:"authorEmail"`
}

// API guards the query API and the submissions.
type API struct {
	// AnonymousRead lets anybody read; submissions always need a token.
	AnonymousRead bool `yaml:"anonymousRead"`
	// Hosts are further names of this server under which anonymous readers may ask.
	Hosts  []string `yaml:"hosts"`
	Tokens []Token  `yaml:"tokens"`
}

// Token is a bearer token. Every token may read; with Submit it may also submit images and ask for sweeps, with Operate
// cancel and requeue whatever others submitted or pushed, and deploy by name what a sweep found.
type Token struct {
	Name    string `yaml:"name"`
	Token   Secret `yaml:"token"`
	Submit  bool   `yaml:"submit"`
	Operate bool   `yaml:"operate"`
	// Repositories are globs by segment of registry/path: the token changes nothing about others. Default all.
	Repositories []pratique.Glob `yaml:"repositories"`
	// Rollback lets what the token submits go back behind a newer image that stands in Git.
	Rollback bool `yaml:"rollback"`
}

// Queue tunes the embedded NATS.
type Queue struct {
	// NoSync leaves syncing of queue and ledger to the operating system: faster, and after a power cut events may be lost,
	// or the queue may not start.
	NoSync bool `yaml:"noSync"`
	// LedgerSize bounds the ledger on disk; when it is full nothing can be recorded. Default 8GiB.
	LedgerSize Size `yaml:"ledgerSize"`
	// OutboxSize bounds the pushes that were acknowledged and wait to be put into the queue; when it is full senders
	// are asked to come again. Default 256MiB.
	OutboxSize Size `yaml:"outboxSize"`
}

// Evidence says where documents are kept.
type Evidence struct {
	// URL is a directory as file:///PATH; default one below DataDir.
	URL string `yaml:"url"`
}
