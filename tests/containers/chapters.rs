//! The chapters with their backends in containers, and `lb` in this process before them.

use lb_testkit::course::{Cast, Chapter, Member, Miss, Ports, Stage, Tempo, Verdict};
use rstest::rstest;

use crate::engine::Contained;

/// The cases about starting are about files and no backends; the suite has them.
const ABOUT_STARTING: &[&str] = &[
    "a_missing_file_stops_the_start",
    "a_broken_file_stops_the_start",
    "an_invalid_file_stops_the_start",
    "a_course_file_is_converted",
];

async fn cast(chapter: Chapter) -> std::io::Result<Cast> {
    let mut members = Vec::new();
    for &role in chapter.roles() {
        members.push(match Contained::of_role(role).await? {
            Some(backend) => Member::played_by(role, backend),
            None => Member::here(role, Ports::Free).await?,
        });
    }
    Ok(Cast::of(members))
}

#[rstest]
#[case::chapter_1_skeleton(Chapter::Skeleton, &[])]
#[case::chapter_2_routing(Chapter::Routing, &[])]
#[case::chapter_3_configuration(Chapter::Configuration, ABOUT_STARTING)]
#[case::chapter_4_health(Chapter::Health, &[])]
#[case::chapter_5_manipulating(Chapter::Manipulating, &[])]
#[case::chapter_6_algorithms(Chapter::Algorithms, &[])]
#[case::chapter_7_firewall(Chapter::Firewall, &[])]
#[case::guide(Chapter::Guide, &[])]
#[tokio::test]
async fn run(#[case] chapter: Chapter, #[case] skipped: &[&str]) -> std::io::Result<()> {
    let cast = cast(chapter).await?;
    // Commands to containers cross the engine's proxy and take a while more than those to a task.
    let tempo = Tempo::default();
    let config = chapter.config(([127, 0, 0, 1], 0).into(), &cast, tempo);
    let lb = lb_tests::Stage::start(&format!("access_log = {{ format = \"off\" }}\n{config}"));
    let report = chapter.run(&Stage::new(lb.addr(), cast)).await;
    println!("{report}");
    assert!(report.is_good(), "{report}");
    let is_left_out = |verdict: &Verdict| matches!(verdict, Err(Miss::Skipped(_)));
    let left_out = report.verdicts().iter().filter(|(_, verdict)| is_left_out(verdict));
    let left_out: Vec<_> = left_out.map(|(case, _)| case.name).collect();
    assert_eq!(left_out, skipped, "{report}");
    Ok(())
}
