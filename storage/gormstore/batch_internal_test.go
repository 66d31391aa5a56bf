package gormstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A scripted database returns these rows for each query, and then this error.
type scripted struct {
	rows [][]driver.Value
	err  error
}

func (s *scripted) Connect(context.Context) (driver.Conn, error) { return s, nil }
func (s *scripted) Driver() driver.Driver                        { return nil }
func (s *scripted) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("unused") }
func (s *scripted) Begin() (driver.Tx, error)                    { return nil, errors.New("unused") }
func (s *scripted) Close() error                                 { return nil }

func (s *scripted) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &scriptedRows{s, 0}, nil
}

type scriptedRows struct {
	*scripted
	next int
}

func (r *scriptedRows) Columns() []string { return make([]string, 18) }

func (r *scriptedRows) Next(row []driver.Value) error {
	if r.next == len(r.rows) {
		return r.err
	}
	copy(row, r.rows[r.next])
	r.next++
	return nil
}

// FindBatch matches rows with slots by their number, in any order. If the connection
// breaks between two rows, no token is reported as corrupt or missing. A row that the
// statement cannot return is an error.
func TestFindBatchMatchesRowsWithSlots(t *testing.T) {
	t.Parallel()
	slots := []tokenauth.Slot{tokenauth.SlotOf("a", ""), tokenauth.SlotOf("b", ""), tokenauth.SlotOf("c", "")}
	row := func(index any, slot tokenauth.Slot, format any) []driver.Value {
		return []driver.Value{index, slot.User[:], slot.Client[:], format, make([]byte, 32), nil, int64(1), int64(2), "", "user", "name", "", "{}", "", "", "", int64(0), int64(0)}
	}
	broken := errors.New("the connection broke")
	good, corrupt := row(int64(2), slots[2], int64(1)), row(int64(0), slots[0], "x")
	for name, test := range map[string]struct {
		scripted
		fails bool
		errs  [3]error
	}{
		"in another order":         {scripted: scripted{[][]driver.Value{good, corrupt}, io.EOF}, errs: [3]error{tokenauth.ErrCorrupt, tokenauth.ErrNotFound, nil}},
		"none":                     {scripted: scripted{nil, io.EOF}, errs: [3]error{tokenauth.ErrNotFound, tokenauth.ErrNotFound, tokenauth.ErrNotFound}},
		"keys of another":          {scripted: scripted{[][]driver.Value{good, row(int64(1), slots[2], int64(1))}, io.EOF}, fails: true},
		"broken before the first":  {scripted: scripted{nil, broken}, fails: true},
		"broken after a valid one": {scripted: scripted{[][]driver.Value{good}, broken}, fails: true},
		"broken after a bad one":   {scripted: scripted{[][]driver.Value{corrupt}, broken}, fails: true},
		"number too high":          {scripted: scripted{[][]driver.Value{row(int64(3), slots[2], int64(1))}, io.EOF}, fails: true},
		"negative number":          {scripted: scripted{[][]driver.Value{row(int64(-1), slots[2], int64(1))}, io.EOF}, fails: true},
		"unreadable number":        {scripted: scripted{[][]driver.Value{good, row("x", slots[1], int64(1))}, io.EOF}, fails: true},
	} {
		pool := sql.OpenDB(&test.scripted)
		defer pool.Close()
		d := &database{dialect: dialects["sqlite"], pool: pool}
		s := &Store{database: d, findBatch: batchStatement{small: &statement{text: "SELECT", pool: pool}}}
		found, err := s.FindBatch(t.Context(), slots)
		if test.fails {
			if err == nil || found != nil || errors.Is(err, tokenauth.ErrCorrupt) || errors.Is(err, tokenauth.ErrNotFound) || test.err == broken && !errors.Is(err, broken) {
				t.Errorf("%s: FindBatch returns %v, error %v", name, found, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, f := range found {
			if !errors.Is(f.Err, test.errs[i]) || f.Err == nil && f.Token.Slot != slots[i] || f.Err != nil && f.Token.Slot != (tokenauth.Slot{}) {
				t.Errorf("%s: slot %d has %+v", name, i, f)
			}
		}
	}
}
