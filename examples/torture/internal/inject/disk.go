package inject

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// diskFull returns a [Fault] that moves the table of tokens to a small disk and fills
// the disk. It needs root to mount the disk.
func (s *postgresServer) diskFull(tb testing.TB) (*Fault, error) {
	// The folder must be accessible to the server, which runs as another user.
	dir, err := os.MkdirTemp("", "torture-disk-")
	if err != nil {
		return nil, err
	}
	tb.Cleanup(func() { os.Remove(dir) })
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=8m,mode=0777", "tmpfs", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mounting a tmpfs failed, which needs root: %s", strings.TrimSpace(string(out)))
	}
	tb.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	if err := os.Chmod(dir, 0o777); err != nil {
		return nil, err
	}
	filler := filepath.Join(dir, "filler")
	return &Fault{Name: "disk full", Lasts: whileItLasts, Strike: func(ctx context.Context) (func() error, error) {
		if err := s.moveTo(ctx, dir); err != nil {
			return nil, err
		}
		return func() error {
			return os.Remove(filler)
		}, fill(filler)
	}}, nil
}

// moveTo moves the table of tokens into the folder, unless it is there already.
func (s *postgresServer) moveTo(ctx context.Context, dir string) error {
	var there int
	if err := s.admin.QueryRowContext(ctx, "SELECT count(*) FROM pg_tablespace WHERE spcname = 'small'").Scan(&there); err != nil || there > 0 {
		return err
	}
	space := filepath.Join(dir, "space")
	return s.do("COPY (SELECT 1) TO PROGRAM 'mkdir -p -m 700 "+space+"'", "CREATE TABLESPACE small LOCATION '"+space+"'",
		"ALTER TABLE torture_tokens SET TABLESPACE small", "ALTER INDEX torture_tokens_pkey SET TABLESPACE small")(ctx)
}

// fill writes to a file until the disk is full.
func fill(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 4<<10)
	for n := 0; n < 64<<20; n += len(block) {
		if _, err := f.Write(block); err != nil {
			return nil
		}
	}
	return fmt.Errorf("torture: inject: the disk is not full after 64 MiB")
}
