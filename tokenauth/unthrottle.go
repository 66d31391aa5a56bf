package tokenauth

import "context"

// Unthrottle lets a throttled user sign in again, for example after an
// administrator set a new password. Pass [Principal.UserID] and every name that
// the user signs in with, as the user types it.
//
//   - Earlier failed sign-ins to the account, and wrong one-time codes, no
//     longer count, regardless of their source.
//   - Until the user signs in, [ThrottleOptions.PerSource] does not block
//     sign-ins to this account. This exception ends after ten failures or 30
//     days. Anyone who knows the user name can use up the ten failures. A
//     blocked source stays blocked for other accounts.
//   - Unthrottle returns [ErrUnavailable] if the storage that holds the shared
//     counters failed ([ThrottleOptions.Key]).
//
// Replicas that share a Key apply the reset within seconds. Without a Key, call
// Unthrottle on each replica. With [ThrottleOptions.InsecureOff] it does
// nothing.
func (s *Service) Unthrottle(ctx context.Context, userID string, userNames ...string) error {
	if s.limiter == nil {
		return nil
	}
	if err := s.limiter.Reset(ctx, userID, userNames...); err != nil {
		return unavailable("throttling", err)
	}
	return nil
}
