//! What is written is what is read, through sockets that take a little at a time.

use proptest::prelude::*;

use super::{super::streams, *};
use crate::upstream::reading::{Ending, all_fields, read};

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let piece = prop_oneof![
        4 => (0..40usize).prop_map(|bytes| Step::Piece(large(bytes))),
        1 => (0..40_000usize).prop_map(|bytes| Step::Piece(large(bytes))),
        2 => Just(Step::Pause),
    ];
    let trailers = prop::collection::vec(("x-[a-c]", "[a-z ]{0,5}"), 0..3).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name: http::HeaderName = name.parse().unwrap();
            map.append(name, value.trim().parse().unwrap());
        }
        Step::Trailers(map)
    });
    (prop::collection::vec(piece, 0..12), prop::option::of(trailers)).prop_map(|(mut steps, trailers)| {
        steps.extend(trailers);
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..Default::default() })]

    #[test]
    fn a_request_arrives_as_it_was_sent(steps in steps(), early in any::<bool>()) {
        let sent: Vec<u8> = steps.iter().flat_map(|step| match step {
            Step::Piece(piece) => piece.to_vec(),
            _ => Vec::new(),
        }).collect();
        let trailers = steps.iter().find_map(|step| match step {
            Step::Trailers(trailers) => Some(trailers.clone()),
            _ => None,
        });
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        let (received, reusable) = run(async {
            let (connection, mut backend) = pair().await;
            let mut call = call(connection, Some(TestBody::new(steps)), Framing::Chunked);
            let answering = async {
                if early {
                    backend.write_all(&answer[..20]).await.unwrap();
                    let received = receive(&mut backend).await;
                    backend.write_all(&answer[20..]).await.unwrap();
                    received
                } else {
                    let received = receive(&mut backend).await;
                    backend.write_all(answer).await.unwrap();
                    received
                }
            };
            let reading = async {
                let head = head(&mut call).await.unwrap();
                let mut stream = call.into_body(&head);
                collect(&mut stream).await.unwrap();
                stream.into_connection(patience).is_some()
            };
            tokio::join!(answering, reading)
        });
        let (_, body, came) = received.expect("a whole request");
        prop_assert!(body == sent);
        prop_assert_eq!(came, trailers.unwrap_or_default());
        prop_assert!(reusable);
    }

    /// A call over a socket sees what the pieces of memory of the other properties say.
    #[test]
    fn a_response_over_a_socket_is_what_its_bytes_say(
        stream in streams::mutated(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let expected = read([&stream[..]], false);
        let seen = run(async {
            let (connection, mut backend) = pair().await;
            let mut call = get(connection);
            let answering = async {
                receive(&mut backend).await.unwrap();
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
                cuts.sort_unstable();
                let mut from = 0;
                for cut in cuts.into_iter().chain([stream.len()]) {
                    if backend.write_all(&stream[from..cut]).await.is_err() {
                        break; // it has seen enough
                    }
                    tokio::task::yield_now().await;
                    from = cut;
                }
                let _ = backend.shutdown().await;
                backend
            };
            let reading = async {
                let head = head(&mut call).await.ok()?;
                let mut stream = call.into_body(&head);
                let collected = collect(&mut stream).await;
                let reusable = stream.into_connection(patience).is_some();
                Some((head.status, all_fields(&head, false), collected, reusable))
            };
            tokio::join!(answering, reading).1
        });
        match seen {
            None => prop_assert!(expected.head.is_none()),
            Some((status, headers, collected, reusable)) => {
                let (expected_status, expected_headers, keep_alive) = expected.head.expect("a head");
                prop_assert_eq!((status, headers), (expected_status, expected_headers));
                match collected {
                    None => prop_assert_ne!(expected.end, Ending::Complete),
                    Some((body, trailers)) => {
                        prop_assert_eq!(expected.end, Ending::Complete);
                        prop_assert_eq!((&body[..], trailers), (&expected.body[..], expected.trailers));
                        prop_assert!(keep_alive || !reusable);
                        prop_assert!(reusable || !keep_alive || expected.left > 0);
                    }
                }
            }
        }
    }
}
