package tokenauth

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// streamRetry is the longest time until a failed check is repeated.
	streamRetry = time.Second
	// streamRest is the longest time until a token is checked although nothing
	// reported a change.
	streamRest = time.Hour
	// streamSweep is how often tokens are compared with the clock.
	streamSweep = time.Second
)

// run checks the tokens of open streams when they are due, until ctx ends. If no
// other call of run is in progress, it then ends all streams, because nothing
// would end them with their tokens. The func look returns the token as the
// storage has it now, or an error that is an [ErrInvalidToken] if the token
// ended.
func (o *streams) run(ctx context.Context, look func(context.Context, *Token) (*Token, error)) {
	o.mu.Lock()
	o.runs++
	o.mu.Unlock()
	var checking sync.WaitGroup
	defer checking.Wait()
	defer o.stopped() // does not wait for checks, which may take until Options.Timeout
	slots := make(chan struct{}, o.atOnce)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var swept time.Time
	for ctx.Err() == nil {
		if now := time.Now(); now.Sub(swept) >= streamSweep {
			swept = now
			o.sweep(now)
		}
		select {
		case slots <- struct{}{}:
			if of := o.next(timer); of != nil {
				checking.Go(func() {
					free := sync.OnceFunc(func() {
						<-slots
						o.wakeUp()
					})
					defer free()
					// A host's code that ignores the end of its context must not
					// stop the checks of other tokens.
					defer time.AfterFunc(2*o.timeout, free).Stop()
					o.check(ctx, of, look)
				})
				continue
			}
			<-slots
		default:
			timer.Reset(streamSweep)
		}
		select {
		case <-o.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// stopped notes the end of a call of run. After the last one it ends all streams.
func (o *streams) stopped() {
	o.mu.Lock()
	o.runs--
	var all []*streamsToken
	if o.runs == 0 {
		for _, tokens := range o.users {
			all = append(all, tokens...)
		}
	}
	o.mu.Unlock()
	for _, of := range all {
		o.end(of, errRunEnded)
	}
	o.wakeUp() // another call of run takes over
}

// sweep ends the streams of expired tokens. Most of them a check has ended
// already. But all checks may be waiting for the storage, or the clock may have
// been set forwards since the time of the check was computed. A token that may
// live on ([Options.MaxLifetime], [Options.Refresh]) gets [Options.Timeout] for a check.
func (o *streams) sweep(reading time.Time) {
	now := o.now().Unix()
	var expired []*streamsToken
	o.mu.Lock()
	for _, tokens := range o.users {
		for _, of := range tokens {
			switch {
			case !of.token.expired(now):
				of.expired = time.Time{}
			case o.livesOn && of.expired.IsZero():
				of.expired = reading
				o.bring(of, reading)
			case !o.livesOn || reading.Sub(of.expired) > o.timeout:
				expired = append(expired, of)
			}
		}
	}
	o.mu.Unlock()
	for _, of := range expired {
		o.end(of, ErrExpiredToken)
	}
}

// next takes the first token that is due. If there is none, it sets the timer
// and returns nil.
func (o *streams) next(timer *time.Timer) *streamsToken {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.users) == 0 {
		timer.Stop()
		return nil
	}
	// The lease may end although Watch has not returned.
	alive := o.feed != nil && o.feed.alive()
	if o.alive && !alive {
		o.spread(o.interval)
	}
	o.alive = alive
	wait := streamSweep
	if len(o.due) > 0 {
		if wait = min(wait, time.Until(o.due[0].due)); wait <= 0 {
			return heap.Pop(&o.due).(*streamsToken)
		}
	}
	if alive {
		wait = min(wait, o.feed.lease/4)
	}
	timer.Reset(wait)
	return nil
}

// check checks a token, and ends its streams if it ended.
func (o *streams) check(ctx context.Context, of *streamsToken, look func(context.Context, *Token) (*Token, error)) {
	began := time.Now()
	t, err := look(ctx, of.token)
	if errors.Is(err, ErrInvalidToken) {
		o.end(of, err)
		return
	}
	if err == nil && t.Key != "" {
		o.endUnmet(of, t)
	}
	o.failing.report(ctx, o.logger, &of.failing, err)
	alive := o.feed != nil && o.feed.alive()
	o.mu.Lock()
	defer o.mu.Unlock()
	if of.ended {
		o.works(of) // its streams may have ended before the report
		return
	}
	switch {
	case ctx.Err() != nil:
		of.due = began // another call of run takes over
	case err != nil:
		of.due = began.Add(min(o.interval, streamRetry))
	case o.always || !alive:
		of.token, of.due = t, began.Add(o.interval)
	default:
		of.token, of.due = t, began.Add(streamRest)
		o.alive = true // so that next notices when the feed is lost
	}
	if latest := o.latest(of.token); latest.Before(of.due) {
		of.due = latest
	}
	if !of.again.IsZero() && of.again.Before(of.due) {
		of.due = of.again
	}
	of.again = time.Time{}
	heap.Push(&o.due, of)
	o.wakeUp()
}

// endUnmet ends those streams of an API key whose roles the key no longer has.
func (o *streams) endUnmet(of *streamsToken, now *Token) {
	unmet := make(map[*stream][]string)
	o.mu.Lock()
	for st := of.first; st != nil; st = st.next {
		for _, roles := range st.roles {
			if !now.Principal.HasRole(roles...) {
				unmet[st] = roles
			}
		}
	}
	o.mu.Unlock()
	for st, roles := range unmet {
		st.end(because(ErrInvalidToken, &roleError{roles, slices.Clone(now.Principal.Roles)}))
	}
}
