package config

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Secret is a reference to a secret: env:NAME or file:PATH. The secret itself is not allowed in the
// file. A Secret never prints its value.
type Secret struct {
	ref   string
	value []byte
}

// IsZero reports whether nothing was configured.
func (s Secret) IsZero() bool { return s.ref == "" }

// Value is the secret, without the line break at its end. It is nil before the file is loaded.
func (s Secret) Value() []byte { return s.value }

// Text is Value as a string.
func (s Secret) Text() string { return string(s.value) }

// Lines are the secrets in it, one a line. Only files have several.
func (s Secret) Lines() []string {
	var all []string
	for line := range strings.Lines(string(s.value)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// Again resolves the reference again, because a file may have changed.
func (s Secret) Again() (Secret, error) {
	err := s.resolve()
	return s, err
}

// String returns the reference, never the secret.
func (s Secret) String() string { return s.ref }

// UnmarshalYAML implements [yaml.Unmarshaler].
func (s *Secret) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.ScalarNode {
		return lineError(node, "want a reference to a secret: env:NAME or file:PATH")
	}
	scheme, rest, _ := strings.Cut(node.Value, ":")
	if (scheme != "env" && scheme != "file") || rest == "" {
		// The value is not repeated: it may be the secret.
		return lineError(node, "secrets are given by reference only: write env:NAME or file:PATH")
	}
	s.ref = node.Value
	return nil
}

// resolve reads the secret.
func (s *Secret) resolve() error {
	scheme, name, _ := strings.Cut(s.ref, ":")
	switch scheme {
	case "env":
		v, ok := os.LookupEnv(name)
		if !ok || v == "" {
			return fmt.Errorf("the environment variable %s is not set", name)
		}
		s.value = []byte(v)
	case "file":
		f, err := os.Open(name) //nolint:gosec // the operator names the file
		if err != nil {
			return fmt.Errorf("read secret: %w", err)
		}
		defer f.Close()
		const maxSecret = 1 << 20 // a path such as /dev/zero must not fill the memory
		b, err := io.ReadAll(io.LimitReader(f, maxSecret))
		if err != nil {
			return fmt.Errorf("read secret: %w", err)
		}
		s.value = bytes.TrimRight(b, "\r\n")
		if len(s.value) == 0 {
			return fmt.Errorf("the file %s is empty", name)
		}
	}
	return nil
}

// Duration is a time span such as 90s, 6h or 3d.
type Duration time.Duration

// Std returns the duration, or fallback if none was configured.
func (d Duration) Std(fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return time.Duration(d)
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	text := node.Value
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			*d = Duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	span, err := time.ParseDuration(text)
	if err != nil || span < 0 {
		return lineError(node, "want a time span such as 90s, 6h or 3d, not %q", text)
	}
	*d = Duration(span)
	return nil
}

// Time is a moment such as 2026-03-31T12:00:00Z, or the beginning of a day in UTC such as
// 2026-03-31.
type Time struct{ time.Time }

// UnmarshalYAML implements [yaml.Unmarshaler].
func (t *Time) UnmarshalYAML(node *yaml.Node) error {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, node.Value); err == nil {
			t.Time = at
			return nil
		}
	}
	return lineError(node, "want a time such as 2026-03-31T12:00:00Z, not %q", node.Value)
}

// Size is a number of bytes such as 512MiB or 20GiB.
type Size int64

// Bytes returns the size, or fallback if none was configured.
func (s Size) Bytes(fallback int64) int64 {
	if s == 0 {
		return fallback
	}
	return int64(s)
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (s *Size) UnmarshalYAML(node *yaml.Node) error {
	text, unit := node.Value, int64(1)
	for suffix, factor := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
		"TiB": 1 << 40} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			text, unit = strings.TrimSpace(number), factor
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return lineError(node,
			"want a size such as 512MiB or 20GiB, in KiB, MiB, GiB or TiB, not %q", node.Value)
	}
	*s = Size(n * unit)
	return nil
}

// lineError has the form of yaml.v3's own errors, which Load rewrites to file:line.
func lineError(node *yaml.Node, format string, args ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %s", node.Line,
		fmt.Sprintf(format, args...))}}
}
