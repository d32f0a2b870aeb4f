//! Who could not be had on this machine, and why.
use crate::session::Entrant;

/// One of them.
#[derive(Debug)]
pub(crate) struct LeftOut {
    pub(crate) who: Entrant,
    pub(crate) why: String,
}

/// A line for each reason of each contender: what all that were `wanted` of a contender have in
/// common is told once.
pub(crate) fn lines(left_out: &[LeftOut], wanted: &[Entrant]) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, LeftOut { who: Entrant { name, .. }, why }) in left_out.iter().enumerate() {
        let is_alike = |other: &&LeftOut| other.who.name == *name && other.why == *why;
        if left_out[..at].iter().any(|before| is_alike(&before)) {
            continue;
        }
        let alike: Vec<&LeftOut> = left_out.iter().filter(is_alike).collect();
        if alike.len() == wanted.iter().filter(|entrant| entrant.name == *name).count() {
            lines.push(format!("{name}: left out: {why}"));
            continue;
        }
        let ways = alike.iter().map(|LeftOut { who: Entrant { place, payload, .. }, .. }| {
            format!("{name}, {}, {payload}", place.name())
        });
        lines.push(format!("{}: left out: {why}", ways.collect::<Vec<_>>().join("; ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Payload;
    use crate::transport::Place;

    #[test]
    fn who_is_left_out_for_one_reason_is_named_once() {
        let entrant = |name, place| Entrant::transport(name, Payload::TICK, place);
        let [one, other] = [Place::InProcess, Place::Ipc];
        let wanted = [entrant("a", one), entrant("a", other), entrant("b", one)];
        let left_out = |who: &Entrant, why: &str| LeftOut { who: who.clone(), why: why.to_owned() };
        let told = |left_out: &[LeftOut]| lines(left_out, &wanted);
        let [first, second, third] = &wanted;
        assert_eq!(
            told(&[left_out(first, "x"), left_out(third, "x"), left_out(second, "x")]),
            ["a: left out: x", "b: left out: x"]
        );
        assert_eq!(
            told(&[left_out(first, "x"), left_out(second, "y")]),
            ["a, in-process, 48 B: left out: x", "a, ipc, 48 B: left out: y"]
        );
    }
}
