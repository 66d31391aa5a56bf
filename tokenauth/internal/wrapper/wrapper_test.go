package wrapper

import "testing"

type finder interface{ Find() }

type base struct{ n int }

func (b *base) Find()      {}
func (b *base) FindBatch() {}

type value struct{}

func (value) Find()      {}
func (value) FindBatch() {}

type (
	plain        struct{ *base }
	deep         struct{ plain }
	overrides    struct{ *base }
	deepOverride struct{ overrides }
	both         struct{ *base }
	byValue      struct{ value }
	overValue    struct{ value }
	shallow      struct {
		overrides
		other int
	}
	mended      struct{ overrides }
	byInterface struct {
		finder
		batch
	}
	overInterface struct{ whole }
	self          struct {
		*self
		*base
	}
)

// cyclic returns a value that embeds itself.
func cyclic() *holds {
	h := new(holds)
	h.whole = h
	return h
}

type (
	holds     struct{ whole }
	holdsBoth struct {
		finder
		batch
	}
	answers struct{ holds }
)

func (answers) Find()      {}
func (answers) FindBatch() {}

type batch interface{ FindBatch() }

type whole interface {
	finder
	batch
}

func (overrides) Find()      {}
func (overValue) Find()      {}
func (*both) Find()          {}
func (*both) FindBatch()     {}
func (mended) Find()         {}
func (mended) FindBatch()    {}
func (*overInterface) Find() {}

func TestBypassesFind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		part any
		want bool
	}{
		{&base{n: 1}, false},
		{value{}, false},
		{new(value), false},
		{plain{}, false},
		{new(plain), false},
		{deep{}, false},
		{overrides{}, true},
		{new(overrides), true},
		{deepOverride{}, true},
		{new(deepOverride), true},
		{&both{base: new(base)}, false},
		{byValue{}, false},
		{new(byValue), false},
		{overValue{}, true},
		{new(overValue), true},
		{shallow{other: 1}, true},
		{mended{overrides: overrides{}}, false},
		{byInterface{}, false},
		{new(overInterface), true},
		{&self{self: nil}, false},
		{holds{whole: new(base)}, false},
		{holds{whole: overrides{}}, true},
		{&holds{whole: &deepOverride{}}, true},
		{holds{whole: mended{}}, false},
		{holds{whole: &holds{whole: overrides{}}}, true},
		{holdsBoth{overrides{}, overrides{}}, true},
		{answers{holds{whole: overrides{}}}, false},
		{cyclic(), false},
	} {
		if got := BypassesFind(test.part); got != test.want {
			t.Errorf("BypassesFind(%T) = %v", test.part, got)
		}
	}
}
