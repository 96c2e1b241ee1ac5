//! Output that is fetched whole, over connections that break.

use clap::Parser as _;

use super::{OPERATION, finish, play};
use crate::client::args::Cli;
use crate::client::exit::Exit;
use crate::client::run::Session;
use crate::client::testing::{Reply, Script, console_at, session, token};

const KIND: &str = "text/plain; charset=utf-8";

#[tokio::test(start_paused = true)]
async fn output_is_fetched_byte_for_byte_and_taken_up_where_it_broke() {
    let whole = b"line\r\n\x1b[31mred\xff\xfe\nend\n";
    let script = Script::of([
        Reply::cut(200, KIND, &[], whole, 7),
        Reply::Lost,
        Reply::cut(206, KIND, &[], &whole[7..], 3),
        Reply::with(206, KIND, &[], &whole[10..]),
    ]);
    let (exit, written) = play(&script, &format!("cratekube operation output {OPERATION}")).await;
    assert_eq!((exit, written.bytes()), (Exit::Done, whole.to_vec()));
    let ranges: Vec<_> = script
        .asked()
        .iter()
        .filter_map(|request| Some(request.lines().find_map(|line| line.strip_prefix("range: "))?.to_owned()))
        .collect();
    let last = whole.len() - 1;
    assert_eq!(ranges, [format!("bytes=7-{last}"), format!("bytes=7-{last}"), format!("bytes=10-{last}")]);
}

#[tokio::test(start_paused = true)]
async fn all_of_it_instead_of_a_part_is_a_fault_and_no_duplicate() {
    let script = Script::of([Reply::cut(200, KIND, &[], b"one two", 3), Reply::with(200, KIND, &[], b"one two")]);
    let (exit, written) = play(&script, &format!("cratekube operation output {OPERATION}")).await;
    assert_eq!((exit, written.out().as_str()), (Exit::Unavailable, "one"));
}

#[tokio::test]
async fn hostile_row_13_a_terminal_is_shown_what_would_move_it() {
    let text = "plain ü \u{1b}]8;;http://evil\u{7}\n";
    let script = Script::of([Reply::with(200, KIND, &[], text.as_bytes())]);
    let cli = Cli::try_parse_from(["cratekube", "operation", "output", OPERATION]).unwrap();
    let (session, _) = session(&script, cli.global.output, token());
    let (console, written) = console_at(true);
    let session = Session { console, ..session };
    assert_eq!(finish(&session, cli).await, Exit::Done);
    assert_eq!(written.out(), "plain ü \\u{1b}]8;;http://evil\\u{7}\n");
}

#[tokio::test]
async fn no_output_is_no_fault() {
    let script = Script::of([Reply::with(200, KIND, &[], b"")]);
    let (exit, written) = play(&script, &format!("cratekube operation output {OPERATION}")).await;
    assert_eq!((exit, written.out().as_str()), (Exit::Done, ""));
}
