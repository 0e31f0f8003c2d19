// Package scan has the verb that inspects one image on this machine, without a service.
package scan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/internal/display"
	"github.com/pratique-dev/pratique/internal/render"
)

// flags are those of pratique scan.
type flags struct {
	config, databaseDir, cacheDir     string
	username, passwordFile            string
	layout                            bool
	format, platform, failOn          string
	outputs                           []string
	offline, quiet, evaluate, fixable bool

	conf      config.Config
	threshold pratique.Severity
	gate      bool // --fail-on was given
}

// formats are what can be written.
func formats() []string { return []string{"table", "json", "sarif", "spdx-json", "cyclonedx-json"} }

// New is the verb scan.
func New() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "scan IMAGE",
		Short: "Inspect one image here, without a server",
		Long: `Fetches an image, finds the packages in it and their known vulnerabilities, and writes what it found. Nothing is
signed, recorded or deployed. The image is parsed in a process of its own, with the limits of the service.

IMAGE is a name as Docker takes it (alpine:3.20 is docker.io/library/alpine:3.20), or with --oci-layout a directory or
a tar file with an OCI layout, or what docker save wrote; to the policy its repository is localhost/NAME, by the name of
the directory or file. Of an image for several platforms the one of this machine is taken, and the others are named.
The platforms of --config come before that. With --platform all, which takes those of --config if it has any, one that cannot be
inspected ends the scan with 2.

Credentials are those of the registry in the file of --config, or --username with --password-file; else it is asked
anonymously. Hosts on this machine are asked by plain HTTP.

The database is that of --db-dir, else that in the dataDir of this machine's service, which is left as it is, else
one in the user's cache, which is kept up to date. That cache also has layers, and what was found in them.

What inspect.scanners of the configuration names (secrets, misconfigurations, licenses) is looked for, too. Credentials
are masked in everything that is written, and --fail-on counts these findings like the others.

Exit status:
  0  inspected
  1  it has a finding of --fail-on or graver, or --policy denies it; everything is written all the same
  2  could not find out`,
		Example: `  pratique scan alpine:3.20
  pratique scan ghcr.io/team/app:1.1 --fail-on HIGH --only-fixable
  pratique scan registry.example.com/team/app:1.1 --format json --output sarif=findings.sarif --output spdx-json=sbom.json
  pratique scan registry.example.com/team/app:1.1 --config pratique.yaml --policy
  docker save app:dev | gzip > app.tgz && pratique scan --oci-layout app.tgz`,
		Args: verb.OneArg("IMAGE: registry/path:tag or registry/path@digest, or a path with --oci-layout"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			p := verb.NewProgress(cmd.ErrOrStderr(), f.quiet)
			found, err := f.scan(cmd.Context(), args[0], p)
			p.Done()
			if err != nil {
				return err
			}
			if note := f.partly(found.Scan); note != "" {
				fmt.Fprintln(display.Text(cmd.ErrOrStderr()), note)
			}
			if err := f.write(cmd.OutOrStdout(), found); err != nil {
				return err
			}
			return f.status(found.Scan)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.config, "config", "c", "",
		"configuration file, for registries, dataDir, platforms, database, inspect and policy")
	flags.StringVar(&f.databaseDir, "db-dir", "", "directory with trivy.db and metadata.json")
	flags.StringVar(&f.cacheDir, "cache-dir", "",
		"where layers, what was found in them and a database are kept; default pratique in the user's cache")
	flags.BoolVar(&f.offline, "offline", false, "download no database")
	flags.StringVar(&f.username, "username", "", "user name at the image's registry")
	flags.StringVar(&f.passwordFile, "password-file", "", "file with the password or token")
	flags.BoolVar(&f.layout, "oci-layout", false,
		"IMAGE is a path, with :TAG or @DIGEST if there are several in it")
	flags.StringVar(&f.platform, "platform", "",
		"platform of an image for several, for example linux/arm64, or all; default that of this machine")
	flags.StringVar(&f.format, "format", "table", "what is printed: "+strings.Join(formats(), ", "))
	flags.StringArrayVarP(&f.outputs, "output", "o", nil, "FORMAT=FILE: also write that; may be repeated")
	flags.StringVar(&f.failOn, "fail-on", "",
		"exit with 1 on a finding of this severity or a graver one: CRITICAL, HIGH, MEDIUM, LOW, UNKNOWN")
	flags.BoolVar(&f.fixable, "only-fixable", false,
		"--fail-on spares vulnerabilities that no version fixes")
	flags.BoolVar(&f.evaluate, "policy", false, "also ask the policy of --config, or the shipped one")
	flags.BoolVar(&f.quiet, "quiet", false, "show no progress")
	return cmd
}

// extension is what names of files of that format usually end with.
func extension(format string) string {
	switch format {
	case "table":
		return ".txt"
	case "sarif":
		return ".sarif"
	}
	return ".json"
}

// check reads the flags that are not just text.
func (f *flags) check() error {
	for _, format := range append([]string{f.format}, f.outputs...) {
		name, file, toFile := strings.Cut(format, "=")
		if !slices.Contains(formats(), name) || (toFile && file == "") {
			return fmt.Errorf("%q: want one of %s, and with --output =FILE behind it", format,
				strings.Join(formats(), ", "))
		}
	}
	for _, output := range f.outputs {
		if !strings.Contains(output, "=") {
			return fmt.Errorf("--output %s: want FORMAT=FILE, for example %s=findings%s", output,
				output, extension(output))
		}
	}
	if f.gate = f.failOn != ""; f.gate {
		var err error
		if f.threshold, err = pratique.ParseSeverity(strings.ToUpper(f.failOn)); err != nil {
			return fmt.Errorf("--fail-on: %w", err)
		}
	}
	if (f.username == "") != (f.passwordFile == "") {
		return errors.New("give both --username and --password-file, or neither")
	}
	if f.config != "" {
		var err error
		if f.conf, err = config.Load(f.config); err != nil {
			return err
		}
	}
	f.conf = settings.WithDefaults(f.conf)
	if f.cacheDir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("name a directory with --cache-dir: %w", err)
		}
		f.cacheDir = filepath.Join(base, "pratique")
	}
	var err error
	f.cacheDir, err = filepath.Abs(f.cacheDir)
	return err
}

// partly says of what an SBOM is not: it has no place for that itself.
func (f *flags) partly(s render.Scan) string {
	sbom := slices.ContainsFunc(append([]string{f.format}, f.outputs...), func(format string) bool {
		return strings.HasPrefix(format, "spdx-json") || strings.HasPrefix(format, "cyclonedx-json")
	})
	if !sbom || len(s.NotInspected) == 0 || len(s.Images) == 0 {
		return ""
	}
	return fmt.Sprintf("the SBOM is of %s alone; not inspected: %s", s.Images[0].Config.Platform,
		listed(s.NotInspected))
}

// status is 1 for what --fail-on or the policy does not take.
func (f *flags) status(s render.Scan) error {
	for _, img := range s.Images {
		if img.Verdict != nil && img.Verdict.Outcome != pratique.Allow {
			return &verb.Error{Status: verb.Denied}
		}
		for _, finding := range img.Report.Findings {
			if f.gate && finding.Severity >= f.threshold && (finding.Fixed != "" || !f.fixable) {
				return &verb.Error{Status: verb.Denied}
			}
		}
		for _, severity := range besidePackages(img.Extras) {
			if f.gate && severity >= f.threshold {
				return &verb.Error{Status: verb.Denied}
			}
		}
	}
	return nil
}

// besidePackages are the severities of what was found in extras.
func besidePackages(s *pratique.Extras) []pratique.Severity {
	var all []pratique.Severity
	if s == nil {
		return nil
	}
	for _, f := range s.Secrets {
		all = append(all, f.Severity)
	}
	for _, f := range s.Misconfigurations {
		all = append(all, f.Severity)
	}
	for _, f := range s.Licenses {
		all = append(all, f.Severity)
	}
	return all
}
