//! Does one piece of the road's work so many times, for `scripts/instructions.sh`, which counts the instructions.
//!
//! `instructions` names all work; `instructions NAME TIMES` does it.

mod work;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [name, times] = arguments.as_slice() else {
        work::workloads::NAMES.iter().for_each(|name| println!("{name}"));
        return;
    };
    let mut work = work::workloads::work(name);
    let times: u32 = times.parse().unwrap_or_else(|_| panic!("{times} is no number of times"));
    (0..times).for_each(|_| work());
}
