//! The course, chapter by chapter, with `lb` as the balancer. The cases, their sentences and their
//! hints live in `lb_testkit::course`; here each of them is a test of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use lb_core::config::{Config, LogFormat};
use lb_server::{Options, Server};
use lb_testkit::course::{Cast, Chapter, Ports, Stage, StartCommand, Tempo};

/// Runs one case against a balancer of its own.
async fn judge(chapter: Chapter, name: &str) {
    // This may build it, for which nothing must wait that is under way.
    let binary = crate::support::process::binary().display();
    let case = chapter.case(name).unwrap_or_else(|| panic!("chapter {} has no case {name}", chapter.id()));
    let cast = Cast::start(chapter, Ports::Free).await.unwrap();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let tempo = Tempo::default();
    let text = chapter.config(listen, &cast, tempo);
    let valid = Config::load(&text).unwrap_or_else(|problems| panic!("{}", problems.in_file("chapter")));
    let mut config = valid.into_inner();
    config.access_log.format = LogFormat::Off;
    let config = config.validate().unwrap();
    lb_tests::panics_of_the_balancer_end_the_tests();
    let server = Server::start(&config, Options::default()).unwrap();
    let mut stage = Stage::new(server.addresses()[0], cast);
    let command = format!("exec '{binary}' run --config \"$COURSE_CONFIG\"");
    stage.launcher = Some(Arc::new(StartCommand::new(&command, chapter, &stage.cast)));
    let verdict = case.run(&stage).await;
    server.shutdown().await;
    if let Err(miss) = verdict {
        panic!("{}: {}\n{miss}", case.name, case.sentence);
    }
}

macro_rules! chapters {
    ($($module:ident $chapter:ident: $($case:ident)*;)*) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $case() {
                super::judge(super::Chapter::$chapter, stringify!($case)).await;
            })*
        })*

        /// The list below is whole: no case of the course goes without a test.
        #[test]
        fn every_case_is_a_test() {
            let tests = [$((Chapter::$chapter, &[$(stringify!($case)),*] as &[&str])),*];
            for (chapter, names) in tests {
                let cases: Vec<&str> = chapter.cases().iter().map(|case| case.name).collect();
                assert_eq!(cases, names, "chapter {}", chapter.id());
            }
            assert_eq!(tests.map(|(chapter, _)| chapter), Chapter::ALL);
        }
    };
}

chapters! {
    chapter_1_skeleton Skeleton:
        the_skeleton_says_hello;
    chapter_2_routing Routing:
        a_host_reaches_mango
        another_host_reaches_apple
        an_unknown_host_is_not_found
        an_implicit_host_counts
        a_port_in_host_changes_nothing
        case_in_host_changes_nothing
        a_path_reaches_mango
        another_path_reaches_apple
        the_backend_sees_the_root
        an_unknown_path_is_not_found
        hosts_come_before_paths
        the_choice_is_random;
    chapter_3_configuration Configuration:
        hosts_come_from_the_file
        paths_come_from_the_file
        backends_come_from_the_file
        nothing_else_is_known
        a_missing_file_stops_the_start
        a_broken_file_stops_the_start
        an_invalid_file_stops_the_start
        a_course_file_is_converted;
    chapter_4_health Health:
        each_backend_is_probed
        a_2xx_is_healthy
        another_status_is_not
        a_refused_connection_is_not
        a_timeout_is_not
        a_backend_that_recovers_is_picked_again
        none_healthy_is_unavailable
        none_healthy_is_said_in_json
        the_one_that_is_up_answers
        nobody_at_all_is_unavailable;
    chapter_5_manipulating Manipulating:
        a_header_is_added
        a_header_is_removed
        a_parameter_is_added
        a_parameter_is_removed
        all_at_once
        other_parameters_stay
        a_path_is_replaced
        no_rules_change_nothing
        paths_answer_with_the_endpoint;
    chapter_6_algorithms Algorithms:
        random_has_no_order
        round_robin_alternates
        weights_hold
        least_connections_spreads
        the_fewest_open_wins
        no_candidates_give_none;
    chapter_7_firewall Firewall:
        addresses_are_rejected
        other_addresses_pass
        paths_are_rejected
        other_paths_pass
        rules_are_the_routes_own
        it_runs_before_the_choice;
    guide Guide:
        backends_greet_in_turns
        health_is_probed
        a_stopped_backend_gets_nothing
        a_started_backend_serves_again
        no_request_fails_meanwhile
        none_healthy_is_said_in_json;
}
