//! Whether what a machine printed is what the agent promises.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Rounds of the guest's workload: two programs each, one that opens a file and one that connects.
const ROUNDS: u64 = 20;

/// The event of the profile that no kernel of the machines can decide.
const UNTOLD: &str = "untold-ends";

/// What the workload made of a kind.
fn made(kind: &str) -> u64 {
    if kind.starts_with("process.") {
        2 * ROUNDS
    } else {
        ROUNDS
    }
}

/// One line of what worked, or what did not.
pub(super) fn of(console: &str) -> Result<String> {
    let console = Console(console);
    let probe = console.json("probe ")?;
    let kernel = probe["kernel"].as_str().context("the probe names no kernel")?;
    for hook in list(&probe, "hooks")? {
        ensure!(hook["works"] == true, "{}: {}", hook["hook"], hook["message"]);
    }
    let log = || console.all("log ").join("\n");
    ensure!(
        console.one("ready ")? == "yes",
        "the agent did not become ready:\n{}",
        log()
    );
    settled(&console.json("ledger ")?)?;
    let exit = console.one("exit ")?;
    ensure!(exit == "0", "the agent's exit code is {exit}:\n{}", log());
    let received = console.all("received ");
    ensure!(received.len() == 4, "four kinds were to be counted: {received:?}");
    for line in received {
        let (kind, count) = line.split_once(' ').context("a kind without a count")?;
        let count: u64 = count.parse().with_context(|| format!("counting {kind}"))?;
        let made = made(kind);
        // Only the workload opens its file; the script's own tools start, end and connect too.
        if count < made || kind == "file.open" && count > made {
            bail!("{count} {kind} received, and the workload made {made}");
        }
    }
    Ok(format!(
        "{kernel}: every hook works, every event arrived, the ledger closed"
    ))
}

/// Whether the ledger closed with everything that was made, and nothing held back or in error.
fn settled(ledger: &Value) -> Result<()> {
    ensure!(
        ledger["cut"]["closed"] == true,
        "the ledger's cut did not close: {ledger}"
    );
    for hook in list(ledger, "hooks")? {
        ensure!(
            hook["hook_error"] == 0 && hook["untracked"] == 0,
            "errors in a hook: {hook}"
        );
    }
    let profile = list(ledger, "profiles")?
        .first()
        .context("the ledger has no profile")?;
    for slot in list(profile, "slots")? {
        let made = made(slot["kind"].as_str().unwrap_or_default());
        let count = |name: &str| {
            slot[name]
                .as_u64()
                .with_context(|| format!("no count `{name}` in {slot}"))
        };
        if slot["event"] == UNTOLD {
            ensure!(
                count("matched")? == 0 && count("undecided")? >= made,
                "before Linux 6.16 no end can be told by its program, and each is undecided: {slot}"
            );
            continue;
        }
        ensure!(count("matched")? >= made, "{made} were made: {slot}");
        ensure!(
            count("matched")? == count("ringed")? && count("ringed")? == count("accepted")?,
            "something is missing, and nothing limits here: {slot}"
        );
    }
    Ok(())
}

/// What the guest's script printed: lines that begin with `weir:` and a word.
struct Console<'a>(&'a str);

impl<'a> Console<'a> {
    fn all(&self, word: &str) -> Vec<&'a str> {
        let said = self
            .0
            .lines()
            .filter_map(|line| Some(line.split_once("weir:")?.1));
        said.filter_map(|said| said.strip_prefix(word))
            .map(str::trim)
            .collect()
    }

    fn one(&self, word: &str) -> Result<&'a str> {
        let first = self.all(word).into_iter().next();
        first.with_context(|| format!("the machine did not say `{}`", word.trim()))
    }

    fn json(&self, word: &str) -> Result<Value> {
        serde_json::from_str(self.one(word)?).with_context(|| format!("`{}` is no JSON", word.trim()))
    }
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    value[name]
        .as_array()
        .with_context(|| format!("`{name}` is no list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"booting
[    1.0] weir:probe {"kernel":"6.1.0","hooks":[{"hook":"sys_exit_open","works":true}]}
weir:ready yes
weir:ledger {"cut":{"closed":true},"hooks":[{"hook":"h","hook_error":0,"untracked":0}],"profiles":[{"slots":[{"event":"opens","kind":"file.open","matched":20,"ringed":20,"accepted":20},{"event":"untold-ends","kind":"process.exit","matched":0,"undecided":44}]}]}
weir:exit 0
weir:received process.exec 44
weir:received process.exit 44
weir:received file.open 20
weir:received net.connect 21
"#;

    #[test]
    fn of_a_good_console_names_the_kernel() {
        assert!(of(&GOOD.replace('\n', "\r\n")).unwrap().contains("6.1.0"));
    }

    #[test]
    fn of_anything_missing_or_wrong_is_an_error() {
        for (good, bad, says) in [
            (
                r#""works":true"#,
                r#""works":false,"message":"refused""#,
                "refused",
            ),
            ("ready yes", "ready ", "ready"),
            (r#""closed":true"#, r#""closed":false"#, "close"),
            (r#""hook_error":0"#, r#""hook_error":1"#, "errors"),
            (r#""matched":20"#, r#""matched":21"#, "missing"),
            (r#""undecided":44"#, r#""undecided":39"#, "undecided"),
            (r#""matched":0"#, r#""matched":1"#, "undecided"),
            ("exit 0", "exit 1", "exit code"),
            ("file.open 20", "file.open 19", "19 file.open"),
            ("file.open 20", "file.open 21", "21 file.open"),
            ("net.connect 21", "net.connect 3", "3 net.connect"),
            ("weir:received process.exit 44\n", "", "four kinds"),
            ("weir:ledger", "weir:", "`ledger`"),
        ] {
            let error = of(&GOOD.replace(good, bad)).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{bad}: {error:#}");
        }
    }
}
