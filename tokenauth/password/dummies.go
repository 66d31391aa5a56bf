package password

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth/internal/fold"
)

// dummies are the hashes to verify where there is no account, so that the time of
// an answer does not tell which names exist. Each costs what the hash of one
// account costs, out of a sample of the accounts that were looked up.
//
// The sample has the accounts whose IDs have the smallest keyed digests. So each
// account counts once, however often somebody asks for it. It is in the order of
// what the hashes cost, and a keyed digest of a name is a position in it. So the
// dummies of all names are distributed as the hashes of the sample, and to ask
// again about one name gives the same dummy, unless the shares have moved.
//
// Of the package's formats a dummy has the parameters, and neither salt nor hash.
// Only the func of a host's format knows what a hash costs: a dummy is that func.
type dummies struct {
	first verifier // while the sample is empty
	seed  maphash.Seed

	mu     sync.Mutex
	sample []sampled // by kind and rank; at most sampleSize
}

// A sampled account is one of the sample.
type sampled struct {
	kind  string
	rank  uint64 // the digest of its ID
	dummy verifier
}

// sampleSize bounds the memory, some 200 KB, and how seldom a format may be.
const sampleSize = 1000

func newDummies(first verifier) *dummies {
	return &dummies{first: first, seed: maphash.MakeSeed()}
}

func (s sampled) compare(other sampled) int {
	return cmp.Or(cmp.Compare(s.kind, other.kind), cmp.Compare(s.rank, other.rank))
}

// learn notes what an account's hash costs.
func (d *dummies) learn(userID string, v verifier) {
	s := sampled{v.kind(), maphash.String(d.seed, userID), v.dummy()}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sample = slices.DeleteFunc(d.sample, func(other sampled) bool { return other.rank == s.rank })
	i, _ := slices.BinarySearchFunc(d.sample, s, sampled.compare)
	d.sample = slices.Insert(d.sample, i, s)
	if len(d.sample) > sampleSize {
		last := 0
		for i := range d.sample {
			if d.sample[i].rank > d.sample[last].rank {
				last = i
			}
		}
		d.sample = slices.Delete(d.sample, last, last+1)
	}
}

// of returns the dummy of a name that no account has. Spellings that a database may
// take for one name have one: all spellings of an account's name cost the same.
func (d *dummies) of(userName string) verifier {
	digest := maphash.String(d.seed, fold.Name(userName))
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.sample) == 0 {
		return d.first
	}
	position, _ := bits.Mul64(digest, uint64(len(d.sample)))
	return d.sample[position].dummy
}
