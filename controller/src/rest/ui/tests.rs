//! What browsers are told of the page, and what its files never do.

use http::{Method, StatusCode};

use super::{FILES, PAGE};
use crate::rest::testing::World;

#[tokio::test]
async fn the_page_and_its_files_are_there_for_all_and_run_nothing_but_themselves() {
    let world = World::new().await;
    let get = async |path: &str| world.anonymous(Method::GET, path).send().await;
    let lead = get("/ui").await;
    assert_eq!((lead.status, lead.header("location")), (StatusCode::PERMANENT_REDIRECT, "/ui/"));
    let files = FILES.iter().map(|(name, kind, text)| (format!("/ui/{name}"), *kind, *text));
    for (path, kind, text) in files.chain([("/ui/".to_owned(), PAGE.0, PAGE.1)]) {
        let answer = get(&path).await;
        assert_eq!(
            (answer.status, answer.header("content-type"), answer.text().as_str()),
            (StatusCode::OK, kind, text)
        );
        let policy = answer.header("content-security-policy");
        let directives: Vec<&str> = policy.split(';').map(str::trim).collect();
        for needed in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ] {
            assert!(directives.contains(&needed), "{path}: {needed} is not in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
    }
    for none in ["/ui/mod.rs", "/ui/tests.rs", "/ui/..%2fmod.rs", "/ui/%00", "/ui/index.html"] {
        assert_eq!(get(none).await.problem(), "not-found", "{none}");
    }
    assert_eq!(get("/ui/?key=ckk1_x").await.problem(), "invalid-parameter", "nothing is taken from an address");
    let json = world.get("/v1/environments").await;
    assert_eq!(json.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
}

#[test]
fn hostile_row_13_no_text_becomes_html_and_nothing_comes_from_elsewhere() {
    for (name, _, text) in FILES.iter().chain([&("index.html", PAGE.0, PAGE.1)]) {
        for never in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
            "localStorage",
            "document.cookie",
            "javascript:",
            "style=",
            "onclick=",
        ] {
            assert!(!text.contains(never), "{name}: {never}");
        }
        let foreign = text.match_indices("//").map(|(at, _)| &text[at.saturating_sub(6)..at]);
        let foreign: Vec<&str> =
            foreign.filter(|before| before.ends_with("http:") || before.ends_with("https:")).collect();
        // The name of a namespace is asked for by nobody.
        assert!(foreign.is_empty() || *name == "icon.svg", "{name}: {foreign:?}");
        assert!(!text.contains("method: \"PUT\"") && !text.contains("method: \"DELETE\""), "{name}: it only looks");
    }
    let posts: Vec<&str> =
        FILES.iter().filter(|(.., text)| text.contains("\"POST\"")).map(|(name, ..)| *name).collect();
    assert_eq!(posts, ["api.js"], "the one exchange of a key");
}
