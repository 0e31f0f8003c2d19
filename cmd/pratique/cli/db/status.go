package db

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/cmd/pratique/words"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/display"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
)

// Status is what pratique db status prints as JSON of one database.
type Status struct {
	database.Status
	// Name is "vulnerability database" or "Java database", Dir where it is kept.
	Name    string   `json:"name"`
	Dir     string   `json:"dir"`
	Sources []string `json:"sources"`
	// AgeSeconds is how old the one in use is, LimitSeconds from when on everything is denied;
	// absent for Java.
	AgeSeconds   int64 `json:"ageSeconds"`
	LimitSeconds int64 `json:"limitSeconds,omitempty"`
	// LimitKey is the key of the configuration that the limit is from.
	LimitKey string `json:"limitKey,omitempty"`
	TooOld   bool   `json:"tooOld"`
}

func newStatus(f *flags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which databases are in use, and how old they are",
		Long: `Reads dataDir, whether the service runs or not, and asks nobody.

Exit status:
  0  there is a database, and the policy still takes it
  1  there is none, or it is older than policy.maxDatabaseAge or its extension
  2  could not find out`,
		Example: `  pratique db status --config /etc/pratique/pratique.yaml
  pratique db status --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := f.load()
			if err != nil {
				return err
			}
			all, err := readDatabases(conf, time.Now())
			if err != nil {
				return err
			}
			if asJSON {
				err = verb.PrintJSON(cmd.OutOrStdout(), all)
			} else {
				err = describeDatabases(cmd.OutOrStdout(), all, time.Now())
			}
			if err == nil && (all[0].Current == nil || all[0].TooOld) {
				return &verb.Error{Status: verb.Denied}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

// readDatabases is the vulnerability database, and the Java database if one is used.
func readDatabases(conf config.Config, now time.Time) ([]Status, error) {
	cfgs := []database.Config{settings.Database(conf, settings.Below(conf.DataDir))}
	if java, used := settings.Java(conf, settings.Below(conf.DataDir)); used {
		cfgs = append(cfgs, java)
	}
	params := settings.Policy(conf.Policy).Params
	limit := params.Limit(now)
	var all []Status
	for i, cfg := range cfgs {
		s := Status{Name: "vulnerability database", Dir: cfg.Dir, Sources: cfg.Sources}
		var err error
		switch {
		case i > 0:
			s.Name = cfg.Kind.String()
			s.Status, err = database.ReadStatus(cfg, now)
		case cfg.StaticDir != "":
			s.Dir, s.Sources = cfg.StaticDir, nil
			s.Status = readStatic(cfg)
		default:
			s.Status, err = database.ReadStatus(cfg, now)
		}
		if err != nil {
			return nil, err
		}
		if s.Current != nil {
			s.AgeSeconds = int64(s.Current.Age(now) / time.Second)
		}
		if i == 0 {
			s.LimitSeconds, s.LimitKey = int64(limit/time.Second), params.LimitKey(now)
			s.TooOld = s.Current != nil && s.Current.Age(now) > limit
		}
		all = append(all, s)
	}
	return all, nil
}

// readStatic looks at a directory that somebody else keeps up to date.
func readStatic(cfg database.Config) database.Status {
	store, err := database.Open(cfg, time.Now)
	var g database.Generation
	if err == nil {
		g, err = store.Current()
	}
	if err != nil {
		return database.Status{LastError: err.Error()}
	}
	return database.Status{Current: &g.Database, Generations: []pratique.Database{g.Database}}
}

func describeDatabases(out io.Writer, all []Status, now time.Time) error {
	for i, s := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s in %s\n", s.Name, s.Dir)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		line := func(name, format string, args ...any) {
			fmt.Fprintf(w, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
		}
		describeDatabase(line, s, now)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func describeDatabase(line func(name, format string, args ...any), s Status, now time.Time) {
	if d := s.Current; d != nil {
		line("digest", "%s", d.Digest)
		line("built", "%s, %s ago", words.Stamp(d.UpdatedAt), words.Age(now.Sub(d.UpdatedAt)))
		switch limit := time.Duration(s.LimitSeconds) * time.Second; {
		case s.TooOld:
			line("too old", "every image is denied: %s is %s", s.LimitKey, words.Age(limit))
		case limit > 0:
			line("good until", "%s, then every image is denied", words.Stamp(d.UpdatedAt.Add(limit)))
		}
		if !d.NextUpdate.IsZero() {
			line("next one", "due %s", words.Stamp(d.NextUpdate))
		}
		if !d.DownloadedAt.IsZero() {
			line("taken", "%s from %s", words.Stamp(d.DownloadedAt), display.Line(d.Source))
		}
	} else {
		line("none", "nothing can be matched: pratique db update, or pratique db import FILE")
	}
	for _, g := range s.Generations[min(1, len(s.Generations)):] {
		line("kept", "%s, built %s", g.Digest, words.Stamp(g.UpdatedAt))
	}
	if len(s.Sources) > 0 {
		line("sources", "%s", strings.Join(s.Sources, ", "))
	}
	if !s.LookedAt.IsZero() {
		line("looked", "%s", words.Stamp(s.LookedAt))
	}
	if s.Due.After(now) {
		line("next look", "not before %s", words.Stamp(s.Due))
	}
	waits := make([]string, 0, len(s.Waits))
	for source, until := range s.Waits {
		waits = append(waits, source+" until "+words.Stamp(until))
	}
	slices.Sort(waits)
	if len(waits) > 0 {
		line("asked to wait", "%s", strings.Join(waits, ", "))
	}
	if s.PartialBytes > 0 {
		line("broken off", "%s are here, and the next download goes on from there",
			words.Bytes(s.PartialBytes))
	}
	if s.LastError != "" {
		line("last error", "%s", display.Line(s.LastError))
	}
}
