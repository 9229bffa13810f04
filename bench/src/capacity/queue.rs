//! Waiting for a busy worker.
//!
//! A connection belongs to one worker, so each worker is a queue of its own with one server: M/G/1.
//! Operations arrive as a Poisson process, which many independent connections make in sum
//! (Palm–Khintchine), and take what their kinds take. For one discipline, *messages first* without
//! interrupting what has begun, the first two moments of waiting are exact (Cobham, 1954; Takács,
//! 1962, from the Laplace transforms); first come, first served is the case that all are messages.
//! The chance to wait at all is exact, too: it is the utilisation, since Poisson arrivals see time
//! averages. In between, the waits of those who wait are taken to have a gamma distribution with
//! these two moments. It is exact for M/M/1.

use super::model::Discipline;
use super::number::float;

/// Arrivals per second, and the first three moments of their service time (seconds to the power).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stream {
    /// Arrivals per second.
    pub rate: f64,
    /// Arrivals per second times each moment, so that streams add up.
    moments: [f64; 3],
}

impl Stream {
    /// `rate` operations per second of `seconds` each, with variance over squared mean of
    /// `variability`; the third moment is that of a gamma distribution.
    pub fn of(rate: f64, seconds: f64, variability: f64) -> Self {
        let second = seconds * seconds * (1.0 + variability);
        let third = second * seconds * (1.0 + 2.0 * variability);
        Self { rate, moments: [rate * seconds, rate * second, rate * third] }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let [a, b] = [self.moments, other.moments];
        Self { rate: self.rate + other.rate, moments: [a[0] + b[0], a[1] + b[1], a[2] + b[2]] }
    }

    /// The same with `factor` times the arrivals.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { rate: self.rate * factor, moments: self.moments.map(|moment| moment * factor) }
    }

    /// Part of a worker's time that it takes.
    pub fn utilisation(&self) -> f64 {
        self.moments[0]
    }

    /// Mean time of an operation, in seconds; 0 when there are none.
    pub fn mean(&self) -> f64 {
        if self.rate > 0.0 { self.moments[0] / self.rate } else { 0.0 }
    }
}

/// The distribution of a waiting time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wait {
    /// The chance to wait at all.
    chance: f64,
    mean: f64,
    square: f64,
}

impl Wait {
    /// Mean wait in seconds.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// One wait and then another, which know nothing of each other.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            chance: 1.0 - (1.0 - self.chance) * (1.0 - other.chance),
            mean: self.mean + other.mean,
            square: self.square + other.square + 2.0 * self.mean * other.mean,
        }
    }

    /// The wait in seconds that the part `quantile` (0 to 1, exclusive) does not exceed.
    pub fn quantile(&self, quantile: f64) -> f64 {
        let beyond = 1.0 - quantile;
        if beyond >= self.chance || self.mean <= 0.0 {
            return 0.0;
        }
        let (mean, square) = (self.mean / self.chance, self.square / self.chance);
        let variance = (square - mean * mean).max(mean * mean * 1e-6);
        let shape = mean * mean / variance;
        gamma_quantile(shape, beyond / self.chance) * mean / shape
    }
}

/// How messages and handshakes wait; none when a worker cannot do them all.
pub fn waits(messages: Stream, handshakes: Stream, discipline: Discipline) -> Option<[Wait; 2]> {
    let all = messages.plus(handshakes);
    let busy = all.utilisation();
    if busy >= 1.0 {
        return None;
    }
    let first = if discipline == Discipline::Fifo { all } else { messages };
    let free = 1.0 - first.utilisation();
    let ahead = ahead(all, first);
    if discipline == Discipline::Fifo {
        return Some([ahead, ahead]);
    }
    // Those behind wait for all the work that is there, and for the messages that come meanwhile:
    // the work is that of first come, first served, each bit of it drawn out by a busy period.
    let work = all.moments[1] / (2.0 * (1.0 - busy));
    let work_square = 2.0 * work * work + all.moments[2] / (3.0 * (1.0 - busy));
    let behind = Wait {
        chance: busy,
        mean: work / free,
        square: work_square / free.powi(2) + work * first.moments[1] / free.powi(3),
    };
    Some([ahead, behind])
}

/// How messages wait while more handshakes wait than can be done, `handshake` being what messages
/// leave the time for: behind one that has begun, always, with messages first. None when they
/// leave none, and for first come, first served, where messages wait as long as handshakes do.
pub fn flooded(messages: Stream, handshake: Stream, discipline: Discipline) -> Option<Wait> {
    let free = 1.0 - messages.utilisation();
    if discipline == Discipline::Fifo || free <= 0.0 || handshake.utilisation() <= 0.0 {
        return None;
    }
    let all = messages.plus(handshake.times(free / handshake.utilisation()));
    Some(ahead(all, messages))
}

/// The wait of those who are first, where `all` may be ahead by having begun.
fn ahead(all: Stream, first: Stream) -> Wait {
    let free = 1.0 - first.utilisation();
    let mean = all.moments[1] / (2.0 * free);
    let square = (mean * first.moments[1] + all.moments[2] / 3.0) / free;
    Wait { chance: all.utilisation().min(1.0), mean, square }
}

/// Where the gamma distribution with this shape, and scale 1, has the part `beyond` above it.
fn gamma_quantile(shape: f64, beyond: f64) -> f64 {
    let (mut low, mut high) = (0.0, shape.max(1.0));
    while gamma_beyond(shape, high) > beyond && high < 1e12 {
        low = high;
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if gamma_beyond(shape, middle) > beyond {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The regularised upper incomplete gamma function Q(shape, x): by its series below, by Lentz's
/// continued fraction above (NIST DLMF 8.7.1 and 8.9.2).
fn gamma_beyond(shape: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let weight = (shape * x.ln() - x - ln_gamma(shape)).exp();
    if x < shape + 1.0 {
        let (mut term, mut sum) = (1.0 / shape, 1.0 / shape);
        for step in 1..10_000 {
            term *= x / (shape + float(step));
            sum += term;
            if term < sum * 1e-15 {
                break;
            }
        }
        return (1.0 - weight * sum).clamp(0.0, 1.0);
    }
    let mut b = x + 1.0 - shape;
    let mut c = 1e300;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for step in 1..10_000 {
        let step = float(step);
        let a = -step * (step - shape);
        b += 2.0;
        d = 1.0 / (a * d + b);
        c = b + a / c;
        let factor = c * d;
        fraction *= factor;
        if (factor - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (weight * fraction).clamp(0.0, 1.0)
}

/// ln Γ(x) for x > 0: Stirling's series (NIST DLMF 5.11.1) from 8 on, and Γ(x+1) = xΓ(x) below.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut below) = (x, 0.0);
    while x < 8.0 {
        below += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series =
        inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - below
}

#[cfg(test)]
mod tests {
    use super::super::draw::Random;
    use super::*;

    fn near(one: f64, other: f64, part: f64) {
        assert!((one - other).abs() <= other.abs() * part, "{one} is not near {other}");
    }

    #[test]
    fn known_values_of_the_gamma_functions() {
        near(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln(), 1e-10);
        near(ln_gamma(10.0), 362_880f64.ln(), 1e-10);
        near(gamma_beyond(1.0, 2.0), (-2f64).exp(), 1e-9);
        // Q(3, x) = e^-x (1 + x + x²/2).
        for x in [0.5, 2.0, 9.0] {
            near(gamma_beyond(3.0, x), (-x).exp() * (1.0 + x + x * x / 2.0), 1e-9);
        }
        near(gamma_quantile(1.0, 0.01), 100f64.ln(), 1e-9);
        // Chi-square with one degree of freedom: 6.635 has 1 % above it.
        near(2.0 * gamma_quantile(0.5, 0.01), 6.634_896_6, 1e-6);
    }

    #[test]
    fn two_exponential_waits_are_one_of_erlang() {
        let wait = Wait { chance: 1.0, mean: 1e-3, square: 2e-6 };
        let both = wait.plus(wait);
        near(both.mean(), 2e-3, 1e-12);
        // Q(2, x) = e^-x (1 + x): 1 % are above 6.638352.
        near(both.quantile(0.99), 6.638_352e-3, 1e-6);
        let seldom = Wait { chance: 0.5, ..wait };
        assert!((seldom.plus(seldom).chance - 0.75).abs() < 1e-12);
    }

    #[test]
    fn one_exponential_queue_is_exact() {
        let (service, busy) = (1e-3, 0.8);
        let stream = Stream::of(busy / service, service, 1.0);
        let [wait, same] =
            waits(stream, Stream::default(), Discipline::Fifo).expect("below saturation");
        assert_eq!(wait, same);
        near(wait.mean(), busy * service / (1.0 - busy), 1e-12);
        // P(W > t) = ρ e^(−(1−ρ)t/s).
        near(wait.quantile(0.99), service / (1.0 - busy) * (busy / 0.01).ln(), 1e-6);
        assert!(wait.quantile(0.1) < 1e-12, "one in five does not wait");
        assert!(waits(stream.times(1.3), stream, Discipline::Fifo).is_none());
    }

    /// Waits of messages and handshakes that arrive at random, one worker, messages first or not.
    fn simulated(discipline: Discipline, rates: [f64; 2], seconds: [f64; 2]) -> [Vec<f64>; 2] {
        let mut random = Random::new(7);
        let mut arrivals: Vec<(f64, usize)> = Vec::new();
        for class in [0, 1] {
            let mut time = 0.0;
            while time < 500.0 {
                time -= random.uniform().ln() / rates[class];
                arrivals.push((time, class));
            }
        }
        arrivals.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut queues = [std::collections::VecDeque::new(), std::collections::VecDeque::new()];
        let mut waits = [Vec::new(), Vec::new()];
        let (mut now, mut next) = (0.0, 0);
        loop {
            while next < arrivals.len() && arrivals[next].0 <= now {
                queues[arrivals[next].1].push_back(arrivals[next].0);
                next += 1;
            }
            let class = match [queues[0].front(), queues[1].front()] {
                [None, None] if next == arrivals.len() => return waits,
                [None, None] => {
                    now = arrivals[next].0;
                    continue;
                }
                [Some(message), Some(handshake)] if discipline == Discipline::Fifo => {
                    usize::from(message > handshake)
                }
                [Some(_), _] => 0,
                [None, _] => 1,
            };
            let arrived: f64 = queues[class].pop_front().expect("it is the one in front");
            waits[class].push(now - arrived);
            now += seconds[class];
        }
    }

    #[test]
    fn a_simulation_agrees() {
        // Messages of 0.2 ms at 40 %, handshakes of 2 ms at 40 %.
        let (rates, seconds) = ([2000.0, 200.0], [2e-4, 2e-3]);
        for discipline in [Discipline::MessagesFirst, Discipline::Fifo] {
            let streams = [0, 1].map(|class| Stream::of(rates[class], seconds[class], 0.0));
            let predicted = waits(streams[0], streams[1], discipline).expect("0.8");
            let measured = simulated(discipline, rates, seconds);
            for (wait, mut measured) in predicted.into_iter().zip(measured) {
                measured.sort_by(f64::total_cmp);
                let mean = measured.iter().sum::<f64>() / float(measured.len());
                near(wait.mean(), mean, 0.05);
                // Times without variance are the worst case: no residual is longer than a handshake.
                let over = wait.quantile(0.99) / measured[measured.len() * 99 / 100];
                assert!((0.95..1.45).contains(&over), "{discipline:?}: {over}");
            }
        }
    }

    #[test]
    fn a_flood_of_handshakes_delays_messages_by_one_of_them() {
        // Handshakes of 2 ms come at twice the rate that can be done.
        let (rates, seconds) = ([2000.0, 1000.0], [2e-4, 2e-3]);
        let streams = [0, 1].map(|class| Stream::of(rates[class], seconds[class], 0.0));
        assert!(waits(streams[0], streams[1], Discipline::MessagesFirst).is_none());
        let wait = flooded(streams[0], streams[1], Discipline::MessagesFirst).expect("40 %");
        let [mut messages, _] = simulated(Discipline::MessagesFirst, rates, seconds);
        near(wait.mean(), messages.iter().sum::<f64>() / float(messages.len()), 0.03);
        messages.sort_by(f64::total_cmp);
        let over = wait.quantile(0.99) / messages[messages.len() * 99 / 100];
        assert!((0.95..1.6).contains(&over), "{over}");
        assert!(flooded(streams[0], streams[1], Discipline::Fifo).is_none());
        assert!(flooded(streams[0].times(3.0), streams[1], Discipline::MessagesFirst).is_none());
    }
}
