# In the place of apicurio/apicurio-registry: its distribution from Maven Central, in the context `jars`.
FROM debian
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends curl openjdk-21-jre-headless && rm -rf /var/lib/apt/lists/*
COPY --from=jars . /deployments
RUN cd /deployments && chmod -R a+rX . && ln -s apicurio-registry-app-*-runner.jar runner.jar
USER 1001
CMD ["java", "-Xmx400m", "-jar", "/deployments/runner.jar"]
