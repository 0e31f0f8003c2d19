// Package db has the verbs that look at, update and import the vulnerability database of this
// machine.
package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pratique-dev/pratique"
	"github.com/pratique-dev/pratique/cmd/pratique/cli/verb"
	"github.com/pratique-dev/pratique/cmd/pratique/settings"
	"github.com/pratique-dev/pratique/cmd/pratique/words"
	"github.com/pratique-dev/pratique/internal/config"
	"github.com/pratique-dev/pratique/scanner/trivy/database"
)

// flags are shared by the verbs about databases.
type flags struct {
	file string
	java bool
}

// New is the verbs about databases.
func New() *cobra.Command {
	group := verb.NewGroup("db", "Look at, update or import the vulnerability database")
	group.Long = `Every process of a machine reads the databases in dataDir, and one keeps them up to date: the running service, or else
one of these verbs. While the service runs they leave a request in a folder of dataDir, which it looks into twice a
second, and wait for its response; so they have to run as the same user, and need no token.`
	var f flags
	group.PersistentFlags().StringVarP(&f.file, "config", "c", "",
		"configuration file, for dataDir, database and registries")
	group.AddCommand(newStatus(&f), newUpdate(&f), newImport(&f))
	return group
}

// load reads the configuration, if one is named, and gives it its defaults.
func (f *flags) load() (config.Config, error) {
	var conf config.Config
	if f.file != "" {
		var err error
		if conf, err = config.Load(f.file); err != nil {
			return conf, err
		}
	}
	return settings.WithDefaults(conf), nil
}

// database is the one that the flags choose.
func (f *flags) database() (database.Config, error) {
	conf, err := f.load()
	if err != nil {
		return database.Config{}, err
	}
	if !f.java {
		return settings.Database(conf, settings.Below(conf.DataDir)), nil
	}
	cfg, used := settings.Java(conf, settings.Below(conf.DataDir))
	if !used {
		return cfg, errors.New("no Java database is used: name its sources in the configuration, under database.java.sources")
	}
	return cfg, nil
}

func newUpdate(f *flags) *cobra.Command {
	var force, quiet bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Look for a new database now",
		Long: `Asks the sources in turn until one answers with the database in use or a newer one. They are not asked more often than
they say: before the next database is due, or within database.interval of the last look, this does nothing, so it may
stand in a crontab. --force asks all the same, but for a source that said when to come back.

An interrupted download is resumed the next time. Whatever fails, the database in use stays in use.

Exit status:
  0  the newest database is in use, or it is too early to ask
  2  no source gave one; what each of them did is printed`,
		Example: `  pratique db update --config /etc/pratique/pratique.yaml
  pratique db update --force`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if conf, err := f.load(); err == nil && conf.Database.Offline && conf.Database.Dir == "" {
				return errors.New("database.offline is true: use pratique db import")
			}
			return f.wish(ctx, database.Request{Force: force}, cmd.OutOrStdout(),
				verb.NewProgress(cmd.ErrOrStderr(), quiet))
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when it is too early")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "show no progress")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "how long to wait at most")
	cmd.Flags().BoolVar(&f.java, "java", false, "the Java database in place of that of vulnerabilities")
	return cmd
}

func newImport(f *flags) *cobra.Command {
	w := database.Request{}
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take a database from a file, where no source can be reached",
		Long: `Takes a database that was carried here, under the same conditions as a download: every digest and the format are
checked, and a database that is older than the one in use is refused unless --force is given. FILE is one of

  db.tar.gz         the layer, as oras pull writes it
  an OCI layout     a directory, or a tar file of one, as skopeo copy and oras copy write it
  a directory       with trivy.db and metadata.json, such as the db folder of Trivy's cache

Set database.offline: true in the configuration, so that no source is asked.

Exit status:
  0  it is in use
  1  it was refused: damaged, not a database, or older than the one in use
  2  it could not be taken: no disk space, no response of the service`,
		Example: `  # where there is a network
  oras pull ghcr.io/aquasecurity/trivy-db:2
  # where there is none
  pratique db import db.tar.gz --config /etc/pratique/pratique.yaml

  skopeo copy docker://ghcr.io/aquasecurity/trivy-db:2 oci-archive:trivy-db.tar
  pratique db import trivy-db.tar`,
		Args: verb.OneArg("FILE: the layer, an OCI layout, or a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			w.File = args[0]
			err := f.wish(ctx, w, cmd.OutOrStdout(), verb.NewProgress(cmd.ErrOrStderr(), true))
			switch pratique.KindOf(err) {
			case pratique.Invalid, pratique.Corrupt, pratique.Stale, pratique.Exhausted:
				if pratique.KindOf(err) == pratique.Stale {
					err = fmt.Errorf("%w\n--force takes it all the same", err)
				}
				return &verb.Error{Status: verb.Denied, Cause: err}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&w.Force, "force", false, "also if it is older than the one in use")
	cmd.Flags().StringVar(&w.Ref, "ref", "", "which artifact of an OCI layout, by its name")
	cmd.Flags().DurationVar(&timeout, "timeout", 15*time.Minute,
		"how long to wait for the service at most")
	cmd.Flags().BoolVar(&f.java, "java", false,
		"a Java database: trivy-java.db in place of trivy.db, javadb.tar.gz in place of db.tar.gz")
	return cmd
}

// wish has it done: by this process if it gets hold of the directory, by the one that has it
// otherwise.
func (f *flags) wish(ctx context.Context, w database.Request, out io.Writer, p *verb.Progress) error {
	cfg, err := f.database()
	if err != nil {
		return err
	}
	cfg.Progress = p.Bytes
	what := "updating the " + cfg.Kind.String()
	if w.File != "" {
		what = "importing the " + cfg.Kind.String()
	}
	defer p.Done()
	store, err := database.Open(cfg, time.Now)
	var answer database.Response
	switch {
	case errors.Is(err, database.ErrInUse):
		p.Step(what + " in use by the service in " + cfg.Dir)
		answer, err = database.Send(ctx, cfg, w, time.Now)
	case err != nil:
		return err
	default:
		p.Step(what)
		answer, err = store.Do(ctx, w)
		err = errors.Join(err, store.Close())
	}
	p.Done()
	if err != nil {
		return err
	}
	describeAnswer(out, answer, w)
	if f.java {
		return nil
	}
	conf, err := f.load()
	if warning := settings.TooOld(conf.Policy, answer.Database, time.Now()); err == nil && warning != "" {
		fmt.Fprintln(out, "warning: "+warning)
	}
	return err
}

func describeAnswer(out io.Writer, a database.Response, w database.Request) {
	said := "unchanged: "
	if a.Changed {
		said = "now in use: "
	}
	fmt.Fprintf(out, "%s%s, built %s, from %s\n", said, a.Database.Digest,
		words.Stamp(a.Database.UpdatedAt), a.Database.Source)
	if !a.Changed && w.File == "" && a.Due.After(time.Now()) {
		fmt.Fprintf(out, "the sources may be asked again from %s on; --force asks now\n",
			words.Stamp(a.Due))
	}
}
