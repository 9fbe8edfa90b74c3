export const VERSION = '4.1.1'

/** Kafka's own distribution adds the last one too: without it there is no log. */
export const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
`

/** To stdout, which goes to the part's log file. */
export const LOG4J_PROPERTIES = `status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1}: %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
`

/** Clients must log in as this one (SASL/PLAIN). */
export interface KafkaUser { username: string, password: string }

function saslProperties ({ username, password }: KafkaUser): string {
  return `sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="${username}" password="${password}" user_${username}="${password}";
`
}

/** One node that is broker and controller, reachable from this machine only. */
export function serverProperties (data: string, port: number, controllerPort: number, user?: KafkaUser): string {
  return `process.roles=broker,controller
node.id=1
# Static voters, not --standalone: the ports may differ from one start to the next.
controller.quorum.voters=1@127.0.0.1:${controllerPort}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}
advertised.listeners=PLAINTEXT://127.0.0.1:${port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:${user === undefined ? 'PLAINTEXT' : 'SASL_PLAINTEXT'},CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
${user === undefined ? '' : saslProperties(user)}log.dirs=${data}

# One node holds the only replica of everything.
default.replication.factor=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# 50 partitions each are for thousands of consumers; five are made in a moment.
offsets.topic.num.partitions=5
transaction.state.log.num.partitions=5
share.coordinator.state.topic.num.partitions=5

# As strict as production should be, but a consumer group is ready at once.
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0

# After a SIGKILL the controller refuses the returning broker until the session of the killed one ran out (9 s by default).
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500

# By default the log cleaner reserves 128 MB of heap; segments are of 1 GB, each with 20 MB of index.
log.cleaner.dedupe.buffer.size=8388608
log.segment.bytes=268435456
log.index.size.max.bytes=1048576
`
}
