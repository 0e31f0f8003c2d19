package powercut_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// commit writes transactions until the disk fails or limit is reached. The transaction number i
// puts i under a few keys of random sizes and deletes those of an earlier one. It returns how many
// were committed.
func commit(db *bbolt.DB, r *rand.Rand, limit int) int {
	for i := range limit {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			if i >= 10 {
				if err := b.Delete(key(i-10, 1)); err != nil {
					return err
				}
			}
			for part := range 2 {
				value := make([]byte, 8+r.IntN(3000))
				binary.BigEndian.PutUint64(value, uint64(i))
				if err := b.Put(key(i, part), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return i
		}
	}
	return limit
}

func key(i, part int) []byte { return fmt.Appendf(nil, "%d/%d", part, i) }

// checkDatabase says what is wrong with a database of which so many transactions were acknowledged.
// One more may be there: the one that was under way.
func checkDatabase(path string, acknowledged int) (err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.View(func(tx *bbolt.Tx) error {
		var all error
		for err := range tx.Check() {
			all = errors.Join(all, err)
		}
		b := tx.Bucket([]byte("b"))
		if b == nil {
			if acknowledged > 0 {
				return errors.Join(all, errors.New("everything is lost"))
			}
			return all
		}
		has := func(i, part int) bool {
			value := b.Get(key(i, part))
			return len(value) >= 8 && binary.BigEndian.Uint64(value) == uint64(i)
		}
		there := acknowledged
		if has(acknowledged, 0) {
			there++
		}
		for i := range there {
			if !has(i, 0) || has(i, 1) != (i+10 >= there) {
				all = errors.Join(all, fmt.Errorf("transaction %d of %d is not as it was committed",
					i, acknowledged))
			}
		}
		return all
	})
}

// A damaged database panics, in goroutines of its own, too, so it is checked in a process of its
// own.
const (
	checkPath         = "PRATIQUE_POWERCUT_CHECK"
	checkAcknowledged = "PRATIQUE_POWERCUT_ACKNOWLEDGED"
)

func checkAndExit(path string) {
	acknowledged, err := strconv.Atoi(os.Getenv(checkAcknowledged))
	if err == nil {
		err = checkDatabase(path, acknowledged)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func checkElsewhere(t *testing.T, path string, acknowledged int) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a damaged one may be a circle
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), checkPath+"="+path, fmt.Sprint(checkAcknowledged, "=", acknowledged),
		"GORACE=atexit_sleep_ms=0") // otherwise the race detector sleeps for a second in each
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.1000s", err, out)
	}
	return nil
}

// cutDatabase runs databases on fresh files, cuts the power in place of one of their changes, and
// returns after how many cuts the first one was not as it should be, and how. bbolt does not
// survive a cut while it makes the file, so that is done before.
func cutDatabase(t *testing.T, options bbolt.Options, seeds int) (cuts int, damage error) {
	t.Helper()
	d, root := mount(t)
	transactions := 0
	defer func() { t.Logf("%d transactions were acknowledged before %d cuts", transactions, cuts) }()
	for seed := range seeds {
		r := chance(seed)
		path := filepath.Join(root, fmt.Sprint(seed))
		db, err := bbolt.Open(path, 0o600, &options)
		must(t, err, db.Sync())
		d.CutAfter(1+r.IntN(150), r)
		acknowledged := commit(db, r, 200)
		_ = db.Close() // without power it fails
		reboot(t, d, seed)
		transactions += acknowledged
		if err := checkElsewhere(t, path, acknowledged); err != nil {
			return seed + 1, fmt.Errorf("seed %d, %d transactions: %w", seed, acknowledged, err)
		}
	}
	return seeds, nil
}

func TestCommittedTransactionsSurvive(t *testing.T) {
	t.Parallel()
	if _, err := cutDatabase(t, bbolt.Options{Timeout: 5 * time.Second}, 200); err != nil {
		t.Error(err)
	}
}

func TestTransactionsWithoutSyncAreLost(t *testing.T) {
	t.Parallel()
	if cuts, err := cutDatabase(t, bbolt.Options{Timeout: 5 * time.Second, NoSync: true},
		50); err == nil {
		t.Errorf("whatever is done without sync survives %d cuts: the disk drops nothing", cuts)
	}
}

// A database whose making was cut short may be neither empty nor one: it must not be made where it
// is looked for.
func TestDatabaseIsDamagedByACutWhileItIsMade(t *testing.T) {
	t.Parallel()
	d, root := mount(t)
	damaged := 0
	for seed := range 100 {
		path := filepath.Join(root, fmt.Sprint(seed))
		d.CutAfter(2, chance(seed)) // the file is there, its first pages are written but not synced
		if db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second}); err == nil {
			_ = db.Close()
			t.Fatal("made without a sync")
		}
		must(t, d.Restore())
		if checkElsewhere(t, path, 0) != nil {
			damaged++
		}
	}
	t.Logf("of 100 databases %d cannot be opened", damaged)
	if damaged == 0 {
		t.Error("bbolt makes its file safely by now: say so in the comment of cutDatabase")
	}
}
