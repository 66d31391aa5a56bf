package password

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth/internal/fold"
)

// dummies are hashes to verify for user names that no account has, so that the
// response time does not reveal which names exist. Each dummy costs as much as
// the hash of one account, from a sample of the accounts that were looked up.
//
// The sample consists of the accounts whose IDs have the smallest keyed
// digests. So each account counts once, however often it is looked up. The
// sample is sorted by the kind of hash, and a keyed digest of the user name
// selects a position in it. So the kinds are as frequent among all dummies as
// in the sample. The same name gets the same kind again until the proportions
// in the sample change.
//
// For a hash in a format of this package, the dummy has the same parameters,
// but not the same salt or digest. For a hash in a format of the host
// ([Options.Formats]), the dummy is the hash's own func, because no other func
// is known to cost as much.
type dummies struct {
	first verifier // used while the sample is empty
	seed  maphash.Seed

	mu     sync.Mutex
	sample []sampled // sorted by kind and rank; at most sampleSize
}

// A sampled is an account in the sample.
type sampled struct {
	kind  string
	rank  uint64 // the digest of the account ID
	dummy verifier
}

// sampleSize is the maximum size of the sample, which takes about 200 KB. A
// format that fewer than one in 1,000 accounts use may be missing from it.
const sampleSize = 1000

func newDummies(first verifier) *dummies {
	return &dummies{first: first, seed: maphash.MakeSeed()}
}

func (s sampled) compare(other sampled) int {
	return cmp.Or(cmp.Compare(s.kind, other.kind), cmp.Compare(s.rank, other.rank))
}

// learn adds the account to the sample, with a dummy for its hash.
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

// of returns the dummy for a user name that no account has. All spellings that
// some database treats as one name have the same dummy (see [fold.Name]). So
// these spellings take the same time, as do all spellings of an account's name.
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
