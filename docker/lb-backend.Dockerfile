# The course's mock backend. Built by `cargo xtask images` from a directory with nothing but the static binary.
FROM scratch
COPY lb-backend /lb-backend
USER 65532:65532
ENV APP=mango LISTEN=0.0.0.0:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=2s --timeout=3s --start-period=10s --retries=2 CMD ["/lb-backend", "probe"]
ENTRYPOINT ["/lb-backend"]
LABEL org.opencontainers.image.title="lb-backend" \
      org.opencontainers.image.description="A mock backend of the course: mango, apple and others" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
