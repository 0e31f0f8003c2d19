package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pratique-dev/pratique"
)

// The defaults of [Params], used where a field has its zero value.
const (
	DefaultBlockAt        = "HIGH"
	DefaultMaxDatabaseAge = 72 * time.Hour
)

// The two values of [Params.UnknownSeverity].
const (
	UnknownAllow = "allow"
	UnknownDeny  = "deny"
)

// Params are the parameters of the shipped default policy. A policy of your own reads the same
// values, by the names below, from data.pratique.params. The zero value is usable.
type Params struct {
	// BlockAt (block_at) is the mildest severity that denies: CRITICAL, HIGH, MEDIUM or LOW. Empty
	// means HIGH.
	BlockAt string `json:"block_at,omitempty" yaml:"block_at,omitempty"`
	// OnlyFixable (only_fixable) lets findings pass, with a note, for which no fixed version is
	// known.
	OnlyFixable bool `json:"only_fixable,omitempty" yaml:"only_fixable,omitempty"`
	// UnknownSeverity (unknown_severity) decides about findings without a severity: "deny", or
	// "allow", which passes it with a note. Empty means allow: several advisory sources never give
	// one.
	UnknownSeverity string `json:"unknown_severity,omitempty" yaml:"unknown_severity,omitempty"`
	// BlockSecrets (block_secrets) denies images in which something looks like a credential, and
	// images that were not searched.
	BlockSecrets bool `json:"block_secrets,omitempty" yaml:"block_secrets,omitempty"`
	// MaxDatabaseAge (max_database_age_seconds) is how old the vulnerability database may be when
	// the verdict is given. Zero means 72 hours; no policy can switch the limit off.
	MaxDatabaseAge time.Duration `json:"max_database_age,omitempty" yaml:"max_database_age,omitempty"`
	// Extension raises MaxDatabaseAge for a while. Policies do not see it.
	Extension Extension `json:"-" yaml:"-"`
	// AllowedRepositories (allowed_repositories) are patterns of registry/path; others are denied
	// by every policy. Empty means that every repository is allowed.
	AllowedRepositories []pratique.Glob `json:"allowed_repositories,omitempty" yaml:"allowed_repositories,omitempty"`
	Exceptions
}

// Validate checks the values; the error names the parameter.
func (p Params) Validate() error {
	if p.BlockAt != "" {
		s, err := pratique.ParseSeverity(p.BlockAt)
		if err != nil || s == pratique.SeverityUnknown {
			return fmt.Errorf("block_at: %q is not CRITICAL, HIGH, MEDIUM or LOW", p.BlockAt)
		}
	}
	switch p.UnknownSeverity {
	case "", UnknownAllow, UnknownDeny:
	default:
		return fmt.Errorf("unknown_severity: %q is neither allow nor deny", p.UnknownSeverity)
	}
	if p.MaxDatabaseAge < 0 || (p.MaxDatabaseAge > 0 && p.MaxDatabaseAge < time.Second) {
		return fmt.Errorf("max_database_age: %s is not a second or more; leave it out for %s",
			p.MaxDatabaseAge, DefaultMaxDatabaseAge)
	}
	limit := p.MaxDatabaseAge
	if limit == 0 {
		limit = DefaultMaxDatabaseAge
	}
	if err := p.Extension.validate(limit); err != nil {
		return err
	}
	for name, patterns := range p.lists() {
		for _, pattern := range patterns {
			if err := pattern.Validate(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// lists are the parameters that are patterns of repositories, by name.
func (p Params) lists() map[string][]pratique.Glob {
	lists := p.Exceptions.lists()
	lists["allowed_repositories"] = p.AllowedRepositories
	return lists
}

// document returns the parameters as policies see them: every field there, defaults filled in.
func (p Params) document() map[string]any {
	doc := map[string]any{
		"block_at":                 p.BlockAt,
		"only_fixable":             p.OnlyFixable,
		"unknown_severity":         p.UnknownSeverity,
		"block_secrets":            p.BlockSecrets,
		"max_database_age_seconds": int64(p.MaxDatabaseAge / time.Second),
	}
	for name, patterns := range p.lists() {
		doc[name] = append([]pratique.Glob{}, patterns...)
	}
	if p.BlockAt == "" {
		doc["block_at"] = DefaultBlockAt
	}
	if p.UnknownSeverity == "" {
		doc["unknown_severity"] = UnknownAllow
	}
	if p.MaxDatabaseAge == 0 {
		doc["max_database_age_seconds"] = int64(DefaultMaxDatabaseAge / time.Second)
	}
	return doc
}

// module renders the parameters as a rule rather than as data: then the compiler knows their names
// and types, and a misspelt parameter is an error with file and line. As data it would be
// undefined, and the rule that reads it would silently never deny.
func (p Params) module() (string, error) {
	doc := p.document()
	for name, patterns := range p.Exceptions.lists() {
		doc[name] = expressions(patterns)
	}
	var lists strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.lists())) {
		list, err := json.Marshal(doc[name])
		if err != nil {
			return "", err
		}
		delete(doc, name)
		// array.concat gives the list the type "array of anything"; a literal empty array may not
		// be iterated.
		fmt.Fprintf(&lists, `,%q:array.concat([],%s)`, name, list)
	}
	rest, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	body := strings.TrimSuffix(string(rest), "}") + lists.String() + "}"
	return "package pratique\n\nparams := " + body + "\n", nil
}
