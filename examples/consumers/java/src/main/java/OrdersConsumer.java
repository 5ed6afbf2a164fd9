import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Reads the orders topic and prints one JSON line for each new event of an order. */
public final class OrdersConsumer {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final DateTimeFormatter MILLIS = new DateTimeFormatterBuilder().appendInstant(3).toFormatter();

    private record OrderKey(String store, String orderId) {}

    private final EventDecoder decoder;

    /**
     * The latest revision of each order. In memory it forgets at a restart: keep the revision where you keep the order,
     * and change both in one transaction, as ../erp does.
     */
    private final Map<OrderKey, Integer> handled = new HashMap<>();

    private long skipped = 0;

    private OrdersConsumer(EventDecoder decoder) {
        this.decoder = decoder;
    }

    /** Arguments: BROKERS REGISTRY_URL TOPIC GROUP [MAX]; MAX ends it after so many messages. */
    public static void main(String[] args) throws Exception {
        long most = args.length > 4 ? Long.parseLong(args[4]) : Long.MAX_VALUE;
        Properties properties = new Properties();
        properties.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        properties.put(ConsumerConfig.GROUP_ID_CONFIG, args[3]);
        // Java's default is read_uncommitted, and would show events of transactions that were given up.
        properties.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        // We commit ourselves, once the orders are dealt with.
        properties.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        try (var consumer =
                new KafkaConsumer<>(properties, new StringDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(args[2]));
            new OrdersConsumer(new EventDecoder(args[1])).run(consumer, most);
        }
    }

    private void run(KafkaConsumer<String, byte[]> consumer, long most) throws IOException, InterruptedException {
        while (most > 0) {
            Map<TopicPartition, OffsetAndMetadata> done = new HashMap<>();
            for (ConsumerRecord<String, byte[]> message : consumer.poll(Duration.ofSeconds(1))) {
                if (most == 0) {
                    break;
                }
                try {
                    GenericRecord event = decoder.decode(message.value());
                    if (isNew(event)) {
                        handle(event, message);
                    }
                } catch (UndecodableException e) {
                    skipped++;
                    System.err.printf("%s[%d]@%d: skipped (%d so far): %s%n",
                            message.topic(), message.partition(), message.offset(), skipped, e.getMessage());
                }
                TopicPartition partition = new TopicPartition(message.topic(), message.partition());
                done.put(partition, new OffsetAndMetadata(message.offset() + 1));
                most--;
            }
            // Only now: whoever is killed before this line gets the batch again, and `isNew` drops what was done.
            if (!done.isEmpty()) {
                consumer.commitSync(done);
            }
        }
    }

    /** Whether this is a later event of its order than any before. */
    private boolean isNew(GenericRecord event) {
        OrderKey order = new OrderKey(event.get("store").toString(), event.get("order_id").toString());
        int revision = (Integer) event.get("revision");
        if (revision <= handled.getOrDefault(order, 0)) {
            return false;
        }
        handled.put(order, revision);
        return true;
    }

    /** What you do with an order. This prints it, without the buyer: that is personal data. */
    private static void handle(GenericRecord event, ConsumerRecord<String, byte[]> message) {
        BigDecimal total = (BigDecimal) event.get("total");
        Header reason = message.headers().lastHeader("imotriz-reason");
        ObjectNode line = JSON.createObjectNode();
        line.put("store", event.get("store").toString());
        line.put("order_id", event.get("order_id").toString());
        line.put("revision", (Integer) event.get("revision"));
        line.put("reason", event.get("reason").toString());
        // The same, for those who only route.
        line.put("reason_header", reason == null ? null : new String(reason.value(), StandardCharsets.UTF_8));
        line.put("total", total == null ? null : total.toPlainString());
        line.put("currency", event.get("currency").toString());
        line.put("created_at", time((Instant) event.get("created_at")));
        line.put("read_at", time((Instant) event.get("read_at")));
        System.out.println(line);
    }

    private static String time(Instant instant) {
        return instant == null ? null : MILLIS.format(instant);
    }
}
