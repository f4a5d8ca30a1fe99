//! How far the node's clock is from the API server's, told by the `Date` of the answers that the agent gets anyway.
//!
//! Asks for nothing by itself: watches are opened again every few minutes, and each answer is one look.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::DATE;
use http::{Request, Response};
use tokio::sync::watch;
use tower::{Layer, Service};

/// What is told of. An expiry that comes this much too early or late still is what the user meant.
const TOLD_ABOVE_MS: i64 = 5_000;
/// What was told stays while it is this close, so that an unsteady measurement causes no writes.
const KEPT_WITHIN_MS: i64 = 2_000;
/// `Date` has whole seconds, rounded down.
const DATE_MS: i64 = 1_000;
/// An answer that took longer says too little.
const ANSWER_MAX_MS: i64 = 2_000;

/// The measurement: what is told now, from one look after the other. Pure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Skew {
    told_seconds: Option<i64>,
}

impl Skew {
    /// A request was sent and answered at these times of the node's clock, with this `Date`; all in milliseconds since
    /// 1970.
    ///
    /// The server made its answer in between, at a time in `date .. date + 1 s`. So the node's clock is ahead by more
    /// than `asked - date - 1 s` and by at most `answered - date`.
    fn look(&mut self, asked_ms: i64, answered_ms: i64, date_ms: i64) {
        if !(0..=ANSWER_MAX_MS).contains(&(answered_ms - asked_ms)) {
            return;
        }
        let (least, most) = (asked_ms - date_ms - DATE_MS, answered_ms - date_ms);
        let middle = i64::midpoint(least, most);
        let kept = self.told_seconds.is_some_and(|told| {
            let told = told.saturating_mul(1_000);
            (least - KEPT_WITHIN_MS..=most + KEPT_WITHIN_MS).contains(&told)
        });
        // Told where the whole range is off, and taken back where all of it is not: in between, what was said stands.
        let off = least > TOLD_ABOVE_MS || most < -TOLD_ABOVE_MS;
        let on = least >= -TOLD_ABOVE_MS && most <= TOLD_ABOVE_MS;
        if off && !kept {
            self.told_seconds = Some((middle + middle.signum() * 500) / 1_000);
        } else if on || !kept {
            self.told_seconds = None;
        }
    }
}

/// Puts itself around a client's transport and looks at every answer.
#[derive(Debug, Clone)]
pub struct SkewLayer {
    skew: Arc<Mutex<Skew>>,
    told: watch::Sender<Option<i64>>,
}

impl SkewLayer {
    /// The receiver has the node's clock minus the API server's in seconds, `None` while it is at most 5 s either way
    /// or not known.
    #[must_use]
    pub fn new() -> (Self, watch::Receiver<Option<i64>>) {
        let (told, receiver) = watch::channel(None);
        let skew = Arc::default();
        (Self { skew, told }, receiver)
    }

    fn look(&self, asked: SystemTime, answered: SystemTime, date: SystemTime) {
        let mut skew = self.skew.lock().unwrap_or_else(PoisonError::into_inner);
        skew.look(unix_ms(asked), unix_ms(answered), unix_ms(date));
        let now = skew.told_seconds;
        let changed = self
            .told
            .send_if_modified(|told| std::mem::replace(told, now) != now);
        drop(skew);
        match now {
            Some(seconds) if changed => tracing::warn!(
                seconds,
                "the node's clock is off by the API server's; check the node's time synchronisation"
            ),
            None if changed => tracing::info!("the node's clock agrees with the API server's again"),
            _ => {}
        }
    }
}

impl<S> Layer<S> for SkewLayer {
    type Service = SkewService<S>;

    fn layer(&self, inner: S) -> SkewService<S> {
        SkewService {
            inner,
            layer: self.clone(),
        }
    }
}

/// A transport whose answers are looked at.
#[derive(Debug, Clone)]
pub struct SkewService<S> {
    inner: S,
    layer: SkewLayer,
}

impl<S, A, B> Service<Request<A>> for SkewService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let layer = self.layer.clone();
        let asked = SystemTime::now();
        self.inner
            .call(request)
            .map(move |answer| {
                if let Ok(answer) = &answer
                    && let Some(date) = answer.headers().get(DATE)
                    && let Some(date) = date
                        .to_str()
                        .ok()
                        .and_then(|date| httpdate::parse_http_date(date).ok())
                {
                    layer.look(asked, SystemTime::now(), date);
                }
                answer
            })
            .boxed()
    }
}

fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::client::Body;
    use proptest::prelude::*;
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn skew_is_told_only_when_certain_and_stays_while_it_hardly_moves() {
        let mut skew = Skew::default();
        skew.look(106_000, 106_010, 100_000);
        assert_eq!(skew.told_seconds, None, "5.0 to 6.0 s: not certain");
        skew.look(106_001, 106_010, 100_000);
        assert_eq!(skew.told_seconds, Some(6));
        for moved_ms in [1_500, -400, 2_000] {
            skew.look(106_500 + moved_ms, 106_510 + moved_ms, 100_000);
            assert_eq!(skew.told_seconds, Some(6), "moved by {moved_ms} ms");
        }
        skew.look(130_000, 130_010, 100_000);
        assert_eq!(skew.told_seconds, Some(30), "a real change");
        skew.look(130_000, 133_000, 130_000);
        assert_eq!(skew.told_seconds, Some(30), "an answer after 3 s says nothing");
        skew.look(105_500, 105_510, 100_000);
        assert_eq!(skew.told_seconds, None, "not certain, and far from what was told");
        skew.look(107_000, 107_010, 100_000);
        skew.look(105_500, 105_510, 100_000);
        assert_eq!(
            skew.told_seconds,
            Some(7),
            "not certain, and near to what was told"
        );
        skew.look(100_100, 100_110, 100_000);
        assert_eq!(skew.told_seconds, None);
        skew.look(80_000, 80_010, 100_000);
        assert_eq!(skew.told_seconds, Some(-20), "behind");
    }

    proptest! {
        /// Whatever the latencies: of a clock that was never more than 5 s off nothing is told, nor of one that is right
        /// again; one 9 s off is always told of, and what is told is within 5.5 s of the truth.
        #[test]
        fn skew_told_is_near_the_truth(
            skews in proptest::collection::vec((-60_000_i64..60_000, 0_i64..1_000, 0_i64..1_000, 0_i64..1_000), 1..20),
        ) {
            let mut skew = Skew::default();
            for (truth_ms, there_ms, back_ms, fraction_ms) in skews {
                let server_ms = 1_700_000_000_000 + fraction_ms;
                let asked = server_ms - there_ms + truth_ms;
                skew.look(asked, asked + there_ms + back_ms, server_ms / 1_000 * 1_000);
                let mut first = Skew::default();
                first.look(asked, asked + there_ms + back_ms, server_ms / 1_000 * 1_000);
                if truth_ms.abs() <= TOLD_ABOVE_MS {
                    prop_assert_eq!(first.told_seconds, None);
                }
                if truth_ms.abs() <= 3_000 {
                    prop_assert_eq!(skew.told_seconds, None);
                }
                if truth_ms.abs() > 9_000 {
                    prop_assert!(skew.told_seconds.is_some());
                }
                if let Some(told) = skew.told_seconds {
                    prop_assert!((told * 1_000 - truth_ms).abs() <= 5_500, "told {told} s of {truth_ms} ms");
                }
            }
        }
    }

    /// Scenario: an API server answers with its clock 40 s ahead of ours, then without a date, then with ours.
    /// Guarantees: the layer tells it, keeps it without a date, and takes it back.
    #[tokio::test]
    async fn layer_reads_the_date_of_answers() {
        let (layer, told) = SkewLayer::new();
        let (service, mut server) = tower_test::mock::spawn_layer::<Request<Body>, Response<Body>, _>(&layer);
        let mut service = service.into_inner();
        for (ahead, expected) in [(Some(40), Some(-40)), (None, Some(-40)), (Some(0), None)] {
            let request = Request::new(Body::empty());
            let answer = tokio::spawn(service.ready().await.unwrap().call(request));
            let (_, send) = server.next_request().await.unwrap();
            let mut response = Response::new(Body::empty());
            if let Some(seconds) = ahead {
                let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds));
                response.headers_mut().insert(DATE, date.parse().unwrap());
            }
            send.send_response(response);
            answer.await.unwrap().unwrap();
            let seen = *told.borrow();
            // A second may begin in between.
            assert!(
                seen.is_some() == expected.is_some()
                    && seen.unwrap_or_default().abs_diff(expected.unwrap_or_default()) <= 1,
                "{seen:?} for {expected:?}"
            );
        }
    }
}
