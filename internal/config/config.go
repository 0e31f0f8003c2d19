// Package config reads the configuration of the service. It is strict YAML: an unknown key, a
// missing secret or a bad value is an error with file, line and key. Secrets are references.
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
	// PublicURL is the URL of this server for others; default "http://" and Listen. The verifier id
	// is derived from it.
	PublicURL string `yaml:"publicURL"`
	Log       Log    `yaml:"log"`

	Registries []Registry `yaml:"registries"`
	Receivers  []Receiver `yaml:"receivers"`
	Reconcile  Reconcile  `yaml:"reconcile"`
	// Platforms are the platforms on which images run, for example linux/amd64; default all.
	// Children of an index that certainly do not run on them are not inspected. If one of the others
	// cannot be inspected, the index is denied.
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

// Warnings are settings that are allowed and probably not intended, with file, line and key.
func (c *Config) Warnings() []Problem { return c.warnings }

// Log is the level and format of the log.
type Log struct {
	// Level is debug, info, warn or error; default info.
	Level string `yaml:"level"`
	// Format is text or json; default text.
	Format string `yaml:"format"`
}

// Registry is a host from which images are read and to which attestations are written. No other
// registry is contacted.
type Registry struct {
	Host    string   `yaml:"host"`
	Aliases []string `yaml:"aliases"`
	// PlainHTTP uses the host without TLS; default for loopback addresses only.
	PlainHTTP *bool  `yaml:"plainHTTP"`
	Username  string `yaml:"username"`
	Password  Secret `yaml:"password"`
	// CA is a PEM file with certificate authorities that are trusted for this host, besides those of
	// the system.
	CA Secret `yaml:"ca"`
	// TokenHosts are other hosts whose token servers may see the credentials; RedirectHosts are
	// hosts at private addresses that serve this registry's blobs, and never see them.
	TokenHosts    []string `yaml:"tokenHosts"`
	RedirectHosts []string `yaml:"redirectHosts"`
	// Concurrency is the maximum number of concurrent requests, half of them downloads of layers;
	// default 16.
	Concurrency int `yaml:"concurrency"`
}

// Receiver is one webhook, served at /webhooks/NAME.
type Receiver struct {
	Name string `yaml:"name"`
	// Format is the sender's format; default distribution.
	Format string `yaml:"format"`
	// Registry is the host of this receiver's pushes. It must be one of Registries.
	Registry string `yaml:"registry"`
	// Repositories are the paths that may be reported, as globs by segment; default all of them.
	Repositories []pratique.Glob `yaml:"repositories"`
	// Prefixes maps a sender's own key for a repository (Artifactory, Nexus) to the path that it
	// has in the registry.
	Prefixes map[string]string `yaml:"prefixes"`
	// Auth is how the sender authenticates; default the best method of the format.
	Auth webhook.Method `yaml:"auth"`
	// Header carries the secret or the signature; default the sender's own, otherwise Authorization.
	// Prefix precedes the digits of a signature.
	Header string `yaml:"header"`
	Prefix string `yaml:"prefix"`
	// Secrets are all valid at the same time. A file may hold several, one a line, and is read again
	// when it changes.
	Secrets []Secret `yaml:"secrets"`
	OIDC    OIDC     `yaml:"oidc"`
	// Insecure accepts pushes from anybody.
	Insecure bool `yaml:"insecure"`
	// Untagged also evaluates manifests that are pushed by digest alone.
	Untagged bool    `yaml:"untagged"`
	Generic  Generic `yaml:"generic"`
	NATS     NATS    `yaml:"nats"`
}

// OIDC is the identity provider of a sender's tokens, and what they must contain.
type OIDC struct {
	// Issuer defaults to Google's. KeysURL, the URL of its keys, is required for any other.
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

// Generic has CEL expressions for the fields of the generic format.
type Generic struct {
	// Events is the list of events, default the body alone. The other expressions are about one
	// event.
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

// NATS is a server on which a sender publishes its events, instead of HTTP.
type NATS struct {
	// URL is nats://HOST:PORT or tls://HOST:PORT.
	URL     string `yaml:"url"`
	Subject string `yaml:"subject"`
	// Stream is the JetStream stream of the subject, so that nothing is missed while Pratique is
	// down. Without it, events are received only while Pratique runs.
	Stream      string `yaml:"stream"`
	Username    string `yaml:"username"`
	Password    Secret `yaml:"password"`
	Credentials Secret `yaml:"credentials"`
}

// Reconcile configures sweeps for pushes that no webhook reported.
type Reconcile struct {
	// Interval between two sweeps of a repository; default 1h.
	Interval Duration `yaml:"interval"`
	// RequestsPerMinute is for each registry; default 60.
	RequestsPerMinute int     `yaml:"requestsPerMinute"`
	Repositories      []Sweep `yaml:"repositories"`
}

// Sweep is one repository to sweep.
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
	// Written bounds what inspecting one image may write to disk; default 8GiB.
	Written Size `yaml:"written"`
	// InFlight bounds the bytes of layers, compressed and expanded, that are processed at a time;
	// default 4GiB.
	InFlight Size `yaml:"inFlight"`
	// LayerSize bounds the size of one expanded layer; default 20GiB.
	LayerSize Size `yaml:"layerSize"`
	// Entries bounds the files of an image, over all layers; default 1000000.
	Entries int64 `yaml:"entries"`
	// Layers bounds the layers of an image; default 256. IndexEntries bounds the entries of an
	// index, with those of nested indexes and attestations; default 64.
	Layers       int `yaml:"layers"`
	IndexEntries int `yaml:"indexEntries"`
	// Confinement is what happens if the kernel cannot confine the processes: "auto", the default,
	// continues with a warning, "require" refuses, "off" never confines.
	Confinement string `yaml:"confinement"`
	// Isolation is which images share a process and the cached analyses of their layers: "project",
	// the default, are those of one registry with the same first path segment; "repository"; "image"
	// none, which costs a second of CPU each.
	Isolation string `yaml:"isolation"`
	// IncrementalSBOM catalogs an image on a known base only above the base, if that gives the same
	// SBOM; default true. ShadowSBOM also catalogs one in so many images in full, and compares;
	// default 100, and 0 is never.
	IncrementalSBOM *bool `yaml:"incrementalSBOM"`
	ShadowSBOM      *int  `yaml:"shadowSBOM"`
	// AnalysisStore bounds the cached analyses of layers; default 2GiB.
	AnalysisStore Size `yaml:"analysisStore"`
	// Scanners are what is looked for besides packages: secrets, misconfigurations, licenses.
	// Default none.
	Scanners []pratique.ExtraKind `yaml:"scanners"`
}

// Workers are how many jobs each stage works on at a time.
type Workers struct {
	// Inspect is also how many processes parse images; default the number of processors, at most 4.
	// Attest has as many by default, and Deploy two for each config repository: one commits, and
	// one waits for it.
	Inspect int `yaml:"inspect"`
	Attest  int `yaml:"attest"`
	Deploy  int `yaml:"deploy"`
}

// Priorities bound how many workers of a stage may be busy with one priority. Pushes may use all.
type Priorities struct {
	// Manual is for submissions and sweeps; default all but one. Rescan is for images that are
	// evaluated again; default half. Both are at least 1.
	Manual int `yaml:"manual"`
	Rescan int `yaml:"rescan"`
}

// Database is the source of the vulnerability database.
type Database struct {
	// Sources are OCI references, tried in order; default Trivy's own two.
	Sources []string `yaml:"sources"`
	// Dir is a directory on disk with trivy.db and metadata.json, used in place of Sources.
	Dir string `yaml:"dir"`
	// Offline contacts no source: databases are imported with pratique db import.
	Offline bool `yaml:"offline"`
	// CA is like that of a registry, for Sources whose host is not one of Registries.
	CA Secret `yaml:"ca"`
	// Interval is the minimum time between two updates; default 6h.
	Interval Duration `yaml:"interval"`
	// Java is the database that identifies JAR files by their SHA-1.
	Java JavaDatabase `yaml:"java"`
}

// JavaDatabase is the source of the Java database.
type JavaDatabase struct {
	// Sources are OCI references, tried in order; default none, and no Java database is used.
	Sources []string `yaml:"sources"`
}

// Policy chooses the rules and sets their parameters.
type Policy struct {
	// Dir holds Rego files; default the shipped policy.
	Dir string `yaml:"dir"`
	// BlockAt is the severity from which a finding denies; default HIGH. OnlyFixable ignores
	// findings without a fixed version. Unknown says whether findings without a severity deny:
	// "deny" or "allow", the default.
	BlockAt     string `yaml:"blockAt"`
	OnlyFixable bool   `yaml:"onlyFixable"`
	Unknown     string `yaml:"unknownSeverity"`
	// BlockSecrets denies what looks like a credential; it needs secrets among inspect.scanners.
	BlockSecrets bool `yaml:"blockSecrets"`
	// MaxDatabaseAge is the maximum age of the vulnerability database; default 72h.
	MaxDatabaseAge Duration `yaml:"maxDatabaseAge"`
	// DatabaseAgeExtension raises MaxDatabaseAge for a while.
	DatabaseAgeExtension DatabaseAgeExtension `yaml:"databaseAgeExtension"`
	// AllowedRepositories are globs by segment of registry/path; default all.
	AllowedRepositories []pratique.Glob `yaml:"allowedRepositories"`
	// These are globs by segment of registry/path, too: images that the shipped policy would deny
	// because not all of their packages could be matched, and that pass with a note. Default none;
	// see deploy/policy.Exceptions.
	AllowUnknownOS     []pratique.Glob `yaml:"allowUnknownOS"`
	AllowEndOfLife     []pratique.Glob `yaml:"allowEndOfLife"`
	AllowNoPackages    []pratique.Glob `yaml:"allowNoPackages"`
	AllowMixedPackages []pratique.Glob `yaml:"allowMixedPackages"`
	AllowOddPackages   []pratique.Glob `yaml:"allowOddPackages"`
}

// DatabaseAgeExtension allows an older vulnerability database for a while. All three are required.
type DatabaseAgeExtension struct {
	Age Duration `yaml:"age"`
	// Until is at most 31 days ahead when it is written.
	Until  Time   `yaml:"until"`
	Reason string `yaml:"reason"`
}

// Signing names the key pair. Without a key, one is generated in DataDir at the first start.
type Signing struct {
	// Key is a cosign-compatible encrypted private key. Passphrase decrypts it.
	Key        Secret `yaml:"key"`
	Passphrase Secret `yaml:"passphrase"`
	// PublicKeys verify signatures before anything is written to Git. They must contain the public
	// half of Key. Without Key, the default is the public half of the pair in DataDir.
	PublicKeys []Secret `yaml:"publicKeys"`
	// VerifierID is the URI of this service in verification summaries; default PublicURL.
	VerifierID string `yaml:"verifierID"`
}

// Deploy is where allowed digests are written.
type Deploy struct {
	// MaxVerdictAge is the maximum age of a verification summary for a deployment; default 24h.
	MaxVerdictAge Duration `yaml:"maxVerdictAge"`
	Targets       []Target `yaml:"targets"`
}

// Target is a folder on a branch of a config repository, and the images that go there.
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
	// CA is like that of a registry, for an https Repository.
	CA         Secret `yaml:"ca"`
	SSHKey     Secret `yaml:"sshKey"`
	KnownHosts Secret `yaml:"sshKnownHosts"`
	// SigningKey is an OpenSSH private key that signs the commits; default unsigned.
	SigningKey  Secret `yaml:"signingKey"`
	AuthorName  string `yaml:"authorName"`
	AuthorEmail string `yaml:"authorEmail"`
}

// API configures access to the API.
type API struct {
	// AnonymousRead lets anybody read; submissions always need a token.
	AnonymousRead bool `yaml:"anonymousRead"`
	// Hosts are further names of this server for anonymous readers.
	Hosts  []string `yaml:"hosts"`
	Tokens []Token  `yaml:"tokens"`
}

// Token is a bearer token. Every token may read. With Submit it may also submit images and request
// sweeps, with Operate cancel and requeue all jobs, and deploy what a sweep found.
type Token struct {
	Name    string `yaml:"name"`
	Token   Secret `yaml:"token"`
	Submit  bool   `yaml:"submit"`
	Operate bool   `yaml:"operate"`
	// Repositories are globs by segment of registry/path. The token may change nothing about others.
	// Default all.
	Repositories []pratique.Glob `yaml:"repositories"`
	// Rollback allows to deploy an image that is older than the one in Git.
	Rollback bool `yaml:"rollback"`
}

// Queue configures the embedded NATS.
type Queue struct {
	// NoSync leaves syncing of queue and ledger to the operating system. That is faster, but a power
	// cut may lose events, or the queue may not start.
	NoSync bool `yaml:"noSync"`
	// LedgerSize bounds the ledger on disk. When it is full, nothing can be recorded. Default 8GiB.
	LedgerSize Size `yaml:"ledgerSize"`
	// OutboxSize bounds the acknowledged pushes that wait for the queue. When it is full, senders
	// get 503. Default 256MiB.
	OutboxSize Size `yaml:"outboxSize"`
}

// Evidence is where documents are stored.
type Evidence struct {
	// URL is a directory as file:///PATH; default one below DataDir.
	URL string `yaml:"url"`
}
