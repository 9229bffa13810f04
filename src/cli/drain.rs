//! `tlsgate drain`, `tlsgate close`: ends connections of a running gateway, at a chosen rate.

#![expect(clippy::disallowed_methods, reason = "an edge: how often it is asked how far it is")]

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::show::FilterOptions;
use super::whom::{self, Whom};
use super::{Exit, print};
use crate::app::Farewell;
use crate::app::control::{DismissalRow, Request, Response};

/// At least one filter; all connections end with the process.
#[derive(Args, Debug)]
pub(super) struct DrainOptions {
    /// How many end in a second, as in 500/s
    #[arg(long, value_name = "RATE", value_parser = rate, required_unless_present = "call_off")]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
pub(super) struct CloseOptions {
    /// How many end in a second, as in 500/s; without it, as many as can
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    filter: FilterOptions,
    /// How far each may be from its time, in percent of the time between two
    #[arg(long, value_name = "PERCENT", value_parser = percent, default_value = "0%")]
    jitter: u8,
    /// Come back when it has begun, not when it is over
    #[arg(long)]
    no_wait: bool,
    /// Nobody else goes of the drain or close of this number, as `tlsgate show dismissals` has it
    #[arg(long, value_name = "NUMBER")]
    call_off: Option<u64>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn drain(options: &DrainOptions) -> Exit {
    options.common.run(Farewell::InOrder, options.rate)
}

pub(super) fn close(options: &CloseOptions) -> Exit {
    options.common.run(Farewell::AtOnce, options.rate)
}

impl Common {
    fn run(&self, farewell: Farewell, rate: Option<NonZeroU32>) -> Exit {
        if let Some(number) = self.call_off {
            return match self.whom.ask(&Request::CallOff { number }) {
                Ok(Response::Dismissals { dismissals }) => self.say(&dismissals[..]),
                answer => whom::failed(answer),
            };
        }
        let request =
            Request::Dismiss { filter: self.filter.filter(), farewell, rate, jitter: self.jitter };
        let began = Instant::now();
        let mut answer = self.whom.ask(&request);
        loop {
            let row = match answer {
                Ok(Response::Dismissals { mut dismissals }) if !dismissals.is_empty() => {
                    dismissals.remove(0)
                }
                answer => return whom::failed(answer),
            };
            if self.no_wait || row.workers_busy == 0 {
                return self.say(&[row]);
            }
            // About ten times while it lasts.
            let pause = (began.elapsed() / 10).clamp(SHORTEST, LONGEST);
            std::thread::sleep(pause);
            answer = self.whom.ask(&Request::Dismissals { number: Some(row.number) });
        }
    }

    fn say(&self, rows: &[DismissalRow]) -> Exit {
        if self.json {
            return print(&format!("{:#}\n", json!(rows)));
        }
        let lines: String = rows
            .iter()
            .map(|row| {
                let DismissalRow { number, connections, meant, ended, workers_busy, .. } = row;
                let state = if *workers_busy > 0 { ", and it goes on" } else { "" };
                format!("{number} ({connections}): {ended} of {meant} connections ended{state}\n")
            })
            .collect();
        print(&lines)
    }
}

fn rate(text: &str) -> Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok();
    number.ok_or_else(|| "connections a second, as in \"500/s\"".to_owned())
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number.filter(|number| *number <= 100).ok_or_else(|| "0% to 100%".to_owned())
}

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_percents_have_their_units_or_none() {
        assert_eq!(rate("500/s").map(NonZeroU32::get), Ok(500));
        assert_eq!(rate("1").map(NonZeroU32::get), Ok(1));
        assert!(rate("0").is_err() && rate("5/m").is_err() && rate("fast").is_err());
        assert_eq!(percent("10%"), Ok(10));
        assert_eq!(percent("0"), Ok(0));
        assert!(percent("101%").is_err());
    }
}
