package local

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/attest/index"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/scanner/inventory"
)

// projectionFile is a file below the data directory that is derived from the ledger.
type projectionFile struct {
	name, file string
	remove     func(path string) error
}

// projectionFiles are all of them, by the names that people use.
func projectionFiles() []projectionFile {
	return []projectionFile{{"index", "index.db", index.Remove},
		{"inventory", "inventory.db", inventory.Remove}}
}

// NewProjections is the verbs about projections.
func NewProjections() *cobra.Command {
	group := verb.NewGroup("projections", "Check or rebuild what is derived from the ledger")
	var file string
	group.PersistentFlags().StringVarP(&file, "config", "c", "", "configuration file, for dataDir")
	path := func(name string) (string, error) {
		var conf config.Config
		if file != "" {
			var err error
			if conf, err = config.Load(file); err != nil {
				return "", err
			}
		}
		return filepath.Join(settings.WithDefaults(conf).DataDir, name), nil
	}
	group.AddCommand(newProjectionsCheck(path), newProjectionsRebuild(path))
	return group
}

// explain says what to do about a projection that cannot be opened.
func explain(err error) error {
	switch {
	case pratique.KindOf(err) == pratique.Conflict:
		return fmt.Errorf("%w: stop the service first", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: --config says where dataDir is, and pratique serve makes the file", err)
	}
	return err
}

func newProjectionsCheck(path func(name string) (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:     "check",
		Short:   "Check the index for contradictions",
		Long:    "Reads the whole index while the service is stopped. Exit status 0 if it is sound, 1 if not.",
		Example: "  pratique projections check --config /etc/pratique/pratique.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := path("index.db")
			if err != nil {
				return err
			}
			stats, problems, err := index.Check(file)
			if err != nil {
				return explain(err)
			}
			out := cmd.OutOrStdout()
			for _, p := range problems {
				fmt.Fprintln(out, p)
			}
			fmt.Fprintf(out,
				"%d images, %d events, ledger position %d, %d facts set aside, %d bytes: %d problems\n",
				stats.Images, stats.Events, stats.Position, stats.Rejected, stats.Bytes, len(problems))
			if len(problems) > 0 {
				return &verb.Error{Status: verb.Denied}
			}
			return nil
		},
	}
}

func newProjectionsRebuild(path func(name string) (string, error)) *cobra.Command {
	var names []string
	for _, p := range projectionFiles() {
		names = append(names, p.name)
	}
	return &cobra.Command{
		Use:   "rebuild [NAME…]",
		Short: "Forget what is derived from the ledger; the next start derives it again",
		Long: `Projections hold nothing of their own: everything in them comes from facts in the ledger. The index answers queries, and
the inventory knows what a new vulnerability database affects. This removes those that are named, or all, while the service
is stopped. At the next start pratique serve replays the ledger into new ones; with a new inventory it also looks at all
known images with the database in use.`,
		Example: `  pratique projections rebuild --config /etc/pratique/pratique.yaml
  pratique projections rebuild index`,
		ValidArgs: names,
		Args:      cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, wanted []string) error {
			for _, p := range projectionFiles() {
				if len(wanted) > 0 && !slices.Contains(wanted, p.name) {
					continue
				}
				file, err := path(p.file)
				if err != nil {
					return err
				}
				if err := p.remove(file); err != nil {
					return explain(err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is removed\n", file)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "Start the service to make what was removed again.")
			return nil
		},
	}
}
