# The balancer. Built by `cargo xtask images` from a directory with nothing but the static binary.
FROM scratch
COPY lb /lb
# Nobody in particular: there is no passwd file to have a name in.
USER 65532:65532
EXPOSE 8000
STOPSIGNAL SIGTERM
# Without a URL the probe asks the listeners of the configuration themselves, and sends no request.
HEALTHCHECK --interval=2s --timeout=3s --start-period=10s --retries=2 CMD ["/lb", "probe"]
ENTRYPOINT ["/lb"]
# Its configuration is expected at /etc/lb/lb.toml.
CMD ["run"]
LABEL org.opencontainers.image.title="lb" \
      org.opencontainers.image.description="An HTTP load balancer whose decisions come from one pure crate" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
