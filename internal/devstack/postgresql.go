package devstack

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// postgresql is a PostgreSQL cluster of its own, with the defaults of its version: it waits for the
// disk at each commit. Its directory goes with it.
type postgresql struct {
	*process
	programs string // the directory of postgres, initdb, pg_isready
	dir      string
	port     int
	password string
	uid, gid int // who it runs as: not root

	// The Temporal server's ports beside its frontend's. It keeps them when it is started again:
	// those that the database knows it by would otherwise be taken for other servers, for a while.
	temporalPorts []string
}

// postgresUser is the cluster's superuser, and Temporal's.
const postgresUser = "temporal"

// startPostgreSQL makes a cluster, starts it, and makes Temporal's databases in it.
func (s *Stack) startPostgreSQL(ctx context.Context) (err error) {
	db := &postgresql{password: rand.Text()}
	if db.programs, err = postgresPrograms(); err != nil {
		return err
	}
	if db.uid, db.gid, err = postgresOwner(); err != nil {
		return err
	}
	if db.port, err = freePort(); err != nil {
		return err
	}
	for _, name := range []string{"FRONTEND_HTTP", "FRONTEND_MEMBERSHIP", "HISTORY_GRPC", "HISTORY_MEMBERSHIP",
		"MATCHING_GRPC", "MATCHING_MEMBERSHIP", "WORKER_GRPC", "WORKER_MEMBERSHIP"} {
		port, err := freePort()
		if err != nil {
			return err
		}
		db.temporalPorts = append(db.temporalPorts, name+"_PORT="+strconv.Itoa(port))
	}
	if db.dir, err = os.MkdirTemp("", "edgefleet-postgresql-"); err != nil {
		return fmt.Errorf("making a directory for PostgreSQL: %w", err)
	}
	s.postgresql = db
	password := filepath.Join(db.dir, "password")
	if err := os.WriteFile(password, []byte(db.password), 0o600); err != nil {
		return fmt.Errorf("writing PostgreSQL's password: %w", err)
	}
	if err := errors.Join(os.Chown(db.dir, db.uid, db.gid), os.Chown(password, db.uid, db.gid)); err != nil {
		return fmt.Errorf("giving PostgreSQL its directory: %w", err)
	}
	initdb, err := db.command("initdb", "--pgdata="+db.data(), "--username="+postgresUser, "--pwfile="+password,
		"--auth=scram-sha-256", "--encoding=UTF8", "--no-locale")
	if err != nil {
		return err
	}
	if err := runToEnd(ctx, initdb); err != nil {
		return err
	}
	server, err := db.command("postgres", "-D", db.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(db.port),
		"-c", "unix_socket_directories=")
	if err != nil {
		return err
	}
	if db.process, err = s.start(server, "postgresql.log"); err != nil {
		return err
	}
	err = db.until(ctx, "accepts connections", func() error {
		ready, err := db.command("pg_isready", "-h", "127.0.0.1", "-p", strconv.Itoa(db.port))
		if err != nil {
			return err
		}
		return runToEnd(ctx, ready)
	})
	if err != nil {
		return err
	}
	return s.makeSchemas(ctx)
}

func (s *Stack) makeSchemas(ctx context.Context) error {
	tool, err := s.cfg.binary("temporal-sql-tool")
	if err != nil {
		return err
	}
	for database, schema := range map[string]string{"temporal": "temporal", "temporal_visibility": "visibility"} {
		for _, args := range [][]string{
			{"create-database"},
			{"setup-schema", "--version", "0.0"},
			{"update-schema", "--schema-name", "postgresql/v12/" + schema},
		} {
			cmd := command(tool, args, []string{
				"SQL_PLUGIN=postgres12", "SQL_HOST=127.0.0.1", "SQL_PORT=" + strconv.Itoa(s.postgresql.port),
				"SQL_USER=" + postgresUser, "SQL_PASSWORD=" + s.postgresql.password, "SQL_DATABASE=" + database,
			})
			if err := runToEnd(ctx, cmd); err != nil {
				return fmt.Errorf("making the database %s: %w", database, err)
			}
		}
	}
	return nil
}

// serverEnv are the variables with which a Temporal server uses the cluster.
func (db *postgresql) serverEnv() []string {
	return append([]string{
		"DB=postgres12", "POSTGRES_SEEDS=127.0.0.1", "DB_PORT=" + strconv.Itoa(db.port),
		"POSTGRES_USER=" + postgresUser, "POSTGRES_PWD=" + db.password,
		"NUM_HISTORY_SHARDS=4",
	}, db.temporalPorts...)
}

func (db *postgresql) data() string { return filepath.Join(db.dir, "data") }

// command is one of PostgreSQL's programs, run as the cluster's owner.
func (db *postgresql) command(name string, args ...string) (*exec.Cmd, error) {
	cmd := command(filepath.Join(db.programs, name), args, []string{"PATH=" + db.programs, "LC_ALL=C", "TZ=UTC"})
	cmd.Dir = db.dir // which its owner may enter, unlike ours perhaps
	if db.uid == os.Geteuid() {
		return cmd, nil
	}
	return cmd, runAs(cmd, db.uid, db.gid)
}

// close stops the cluster, without waiting for its clients, and removes it.
func (db *postgresql) close() error {
	var err error
	if db.process != nil {
		err = db.stop(os.Interrupt, stopTimeout)
	}
	return errors.Join(err, os.RemoveAll(db.dir))
}

// postgresPrograms is the directory of PostgreSQL's programs: the one on PATH, or the newest of
// those that Debian keeps off PATH.
func postgresPrograms() (string, error) {
	if onPath, err := lookPath("postgres"); err == nil {
		program, err := filepath.EvalSymlinks(onPath) // the others are beside the file, not the link
		return filepath.Dir(program), err
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", errors.New("no PostgreSQL server on PATH or in /usr/lib/postgresql: install it (Debian's package postgresql)")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // a directory that is no version is the oldest
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// postgresOwner is who the cluster runs as: we, or, since PostgreSQL refuses root, its own user or nobody.
func postgresOwner() (uid, gid int, err error) {
	if os.Geteuid() != 0 {
		return os.Geteuid(), os.Getegid(), nil
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		owner, err = user.Lookup("nobody")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: %w", err)
	}
	uid, uidErr := strconv.Atoi(owner.Uid)
	gid, gidErr := strconv.Atoi(owner.Gid)
	return uid, gid, errors.Join(uidErr, gidErr)
}

// runToEnd runs a command; its error has the command's last words.
func runToEnd(ctx context.Context, cmd *exec.Cmd) error {
	runtime.LockOSThread() // which the kernel ties the child's fate to
	defer runtime.UnlockOSThread()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// StoreBytes is what Temporal's store takes on the disk: histories, queues and visibility, without
// the log of changes. 0 where it is in memory.
func (s *Stack) StoreBytes() (int64, error) {
	var total int64
	if s.postgresql == nil {
		if s.cfg.TemporalDB == "" {
			return 0, nil
		}
		info, err := os.Stat(s.cfg.TemporalDB)
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	err := filepath.WalkDir(filepath.Join(s.postgresql.data(), "base"), func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // dropped since it was listed
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
