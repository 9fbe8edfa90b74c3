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

/** Broker and controller in one process, reachable from this machine only. */
export interface KafkaNode { id: number, port: number, controllerPort: number }

/** How long the controller waits for a broker that is silent: Kafka's own default is 9 s. */
export type KafkaSessions = 'default' | 'quick'

const QUICK_SESSIONS = `broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
`

/** One node holds the only replica of everything, and a consumer group is ready at once. */
const ALONE = `default.replication.factor=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
`

/** As in production: of three replicas two must have a record. What is not named here is Kafka's default. */
const REPLICATED = `default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
`

/**
 * @param nodes all of the cluster, one or three of them
 * @param sessions short ones let a broker that was killed come back at once, as the controller refuses it until then
 */
export function serverProperties (data: string, node: KafkaNode, { nodes = [node], sessions = 'quick', user }: {
  nodes?: KafkaNode[], sessions?: KafkaSessions, user?: KafkaUser | undefined
} = {}): string {
  return `process.roles=broker,controller
node.id=${node.id}
# Static voters, not --standalone: the ports may differ from one start to the next.
controller.quorum.voters=${nodes.map(({ id, controllerPort }) => `${id}@127.0.0.1:${controllerPort}`).join(',')}
listeners=PLAINTEXT://127.0.0.1:${node.port},CONTROLLER://127.0.0.1:${node.controllerPort}
advertised.listeners=PLAINTEXT://127.0.0.1:${node.port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:${user === undefined ? 'PLAINTEXT' : 'SASL_PLAINTEXT'},CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
${user === undefined ? '' : saslProperties(user)}log.dirs=${data}

${nodes.length === 1 ? ALONE : REPLICATED}
# 50 partitions each are for thousands of consumers; five are made in a moment.
offsets.topic.num.partitions=5
transaction.state.log.num.partitions=5
share.coordinator.state.topic.num.partitions=5

# As strict as production should be.
auto.create.topics.enable=false

${sessions === 'quick' ? QUICK_SESSIONS : ''}
# By default the log cleaner reserves 128 MB of heap; segments are of 1 GB, each with 20 MB of index.
log.cleaner.dedupe.buffer.size=8388608
log.segment.bytes=268435456
log.index.size.max.bytes=1048576
`
}
