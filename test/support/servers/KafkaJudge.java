import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * What Java's own consumer reads, and what tests ask of Java's admin client. One JSON command a line on stdin; answers are
 * JSON lines, records first, then {"end":true,...} or {"error":...}.
 */
public class KafkaJudge {
  static final ObjectMapper JSON = new ObjectMapper();
  static final Map<String, Admin> ADMINS = new HashMap<>();
  static BufferedWriter out;

  public static void main(String[] args) throws Exception {
    out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8), 1 << 20);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      ObjectNode end = JSON.createObjectNode();
      try {
        run(JSON.readTree(line), end);
        end.put("end", true);
      } catch (Throwable error) {
        end.put("error", String.valueOf(error));
      }
      print(end);
      out.flush();
    }
    System.exit(0);
  }

  static void print(JsonNode node) throws Exception {
    out.write(JSON.writeValueAsString(node));
    out.write('\n');
  }

  static Admin admin(String bootstrap) {
    return ADMINS.computeIfAbsent(bootstrap, it -> Admin.create(Map.of("bootstrap.servers", it)));
  }

  static void run(JsonNode command, ObjectNode end) throws Exception {
    String bootstrap = command.get("bootstrap").asText();
    switch (command.get("do").asText()) {
      case "read" -> read(bootstrap, command, end);
      case "create" -> {
        Map<String, String> config = new HashMap<>();
        command.get("config").fields().forEachRemaining(it -> config.put(it.getKey(), it.getValue().asText()));
        NewTopic topic = command.has("assignment")
            ? new NewTopic(command.get("topic").asText(), assignment(command.get("assignment")))
            : new NewTopic(command.get("topic").asText(), command.get("partitions").asInt(), (short) command.get("replication").asInt());
        admin(bootstrap).createTopics(List.of(topic.configs(config))).all().get();
      }
      case "topics" -> {
        ArrayNode found = end.putArray("topics");
        for (String topic : new TreeSet<>(admin(bootstrap).listTopics(new ListTopicsOptions().listInternal(true)).names().get()))
          found.add(topic);
      }
      case "delete" -> admin(bootstrap).deleteTopics(List.of(command.get("topic").asText())).all().get();
      case "trim" -> admin(bootstrap).deleteRecords(Map.of(
          new TopicPartition(command.get("topic").asText(), command.get("partition").asInt()),
          RecordsToDelete.beforeOffset(command.get("before").asLong()))).all().get();
      case "scram" -> admin(bootstrap).alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(
          command.get("user").asText(),
          new ScramCredentialInfo(ScramMechanism.fromMechanismName(command.get("mechanism").asText()), 4096),
          command.get("password").asText()))).all().get();
      case "acl" -> admin(bootstrap).createAcls(List.of(new AclBinding(
          new ResourcePattern(ResourceType.fromString(command.get("resource").asText()), command.get("name").asText(), PatternType.LITERAL),
          new AccessControlEntry("User:" + command.get("user").asText(), "*",
              AclOperation.fromString(command.get("operation").asText()), AclPermissionType.ALLOW)))).all().get();
      case "lead" -> lead(bootstrap, command);
      case "grow" -> admin(bootstrap).createPartitions(Map.of(command.get("topic").asText(),
          NewPartitions.increaseTo(command.get("partitions").asInt()))).all().get();
      case "partitions" -> {
        ArrayNode found = end.putArray("partitions");
        for (JsonNode key : command.get("keys"))
          found.add(BuiltInPartitioner.partitionForKey(Base64.getDecoder().decode(key.asText()), command.get("count").asInt()));
      }
      default -> throw new IllegalArgumentException("unknown command");
    }
  }

  static Map<Integer, List<Integer>> assignment(JsonNode partitions) {
    Map<Integer, List<Integer>> result = new HashMap<>();
    for (int i = 0; i < partitions.size(); i++) result.put(i, integers(partitions.get(i)));
    return result;
  }

  static List<Integer> integers(JsonNode list) {
    List<Integer> result = new ArrayList<>();
    list.forEach(it -> result.add(it.asInt()));
    return result;
  }

  /** Makes the first of the replicas the leader. */
  static void lead(String bootstrap, JsonNode command) throws Exception {
    TopicPartition partition = new TopicPartition(command.get("topic").asText(), command.get("partition").asInt());
    Admin admin = admin(bootstrap);
    admin.alterPartitionReassignments(Map.of(partition, Optional.of(new NewPartitionReassignment(integers(command.get("replicas")))))).all().get();
    while (!admin.listPartitionReassignments(Set.of(partition)).reassignments().get().isEmpty()) Thread.sleep(10);
    try {
      admin.electLeaders(ElectionType.PREFERRED, Set.of(partition)).all().get();
    } catch (java.util.concurrent.ExecutionException error) {
      if (!(error.getCause() instanceof org.apache.kafka.common.errors.ElectionNotNeededException)) throw error;
    }
  }

  static void read(String bootstrap, JsonNode command, ObjectNode end) throws Exception {
    long deadline = System.currentTimeMillis() + command.get("timeoutMs").asLong();
    String topic = command.get("topic").asText();
    Map<String, Object> config = new HashMap<>();
    config.put("bootstrap.servers", bootstrap);
    config.put("isolation.level", command.get("isolation").asText());
    config.put("enable.auto.commit", "false");
    config.put("auto.offset.reset", "none");
    config.put("fetch.max.wait.ms", "50");
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
      List<TopicPartition> partitions = new ArrayList<>();
      consumer.partitionsFor(topic).forEach(it -> partitions.add(new TopicPartition(topic, it.partition())));
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      if (command.get("settled").asBoolean()) awaitSettled(bootstrap, consumer, partitions, deadline);
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      long count = 0;
      boolean quiet = command.get("countOnly").asBoolean();
      Tally tally = command.has("tallied") ? new Tally(command.get("tallied").asInt()) : null;
      while (ends.entrySet().stream().anyMatch(it -> consumer.position(it.getKey()) < it.getValue())) {
        if (System.currentTimeMillis() > deadline) throw new IllegalStateException("not read to the end in time, " + count + " records");
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(50))) {
          count++;
          if (!quiet) print(json(record));
          if (tally != null) tally.add(record);
        }
      }
      end.put("count", count);
      if (tally != null) end.put("distinct", tally.distinct).put("wrong", tally.wrong);
    }
  }

  /** Rows with ids from 1 to n, each of which says its id in its key and in its value. */
  static class Tally {
    static final Pattern KEY = Pattern.compile("\\{\"id\":(\\d+)\\}");
    final BitSet seen = new BitSet();
    final int rows;
    int distinct = 0;
    long wrong = 0;

    Tally(int rows) {
      this.rows = rows;
    }

    void add(ConsumerRecord<byte[], byte[]> record) {
      Matcher key = KEY.matcher(record.key() == null ? "" : new String(record.key(), StandardCharsets.UTF_8));
      int id = key.matches() ? Integer.parseInt(key.group(1)) : 0;
      String value = record.value() == null ? "" : new String(record.value(), StandardCharsets.UTF_8);
      if (id < 1 || id > rows || seen.get(id) || !value.contains("\"after\":{\"id\":" + id + ",\"v\":\"row " + id + "\"")) wrong++;
      else {
        seen.set(id);
        distinct++;
      }
    }
  }

  /** Until no transaction is open: markers are written after a commit was answered. */
  static void awaitSettled(String bootstrap, KafkaConsumer<byte[], byte[]> consumer, List<TopicPartition> partitions, long deadline) throws Exception {
    Map<TopicPartition, OffsetSpec> latest = new HashMap<>();
    partitions.forEach(it -> latest.put(it, OffsetSpec.latest()));
    for (;;) {
      Map<TopicPartition, Long> all = new HashMap<>();
      admin(bootstrap).listOffsets(latest).all().get().forEach((partition, offset) -> all.put(partition, offset.offset()));
      if (consumer.endOffsets(partitions).equals(all)) return;
      if (System.currentTimeMillis() > deadline) throw new IllegalStateException("a transaction stays open");
      Thread.sleep(5);
    }
  }

  static ObjectNode json(ConsumerRecord<byte[], byte[]> record) {
    ObjectNode node = JSON.createObjectNode();
    node.put("partition", record.partition()).put("offset", record.offset()).put("timestamp", record.timestamp());
    node.put("key", base64(record.key())).put("value", base64(record.value()));
    ArrayNode headers = node.putArray("headers");
    for (Header header : record.headers()) headers.addArray().add(header.key()).add(base64(header.value()));
    return node;
  }

  static String base64(byte[] bytes) {
    return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
  }
}
